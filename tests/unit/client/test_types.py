"""The client's types are those of the API, and it needs only what it declares."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import acestep_client
from acestep_client import Client, later_answers
from acestep_client.async_client import AsyncClient
from acestep_client.fields import SongFields
from configs.settings import PROJECT_ROOT
from docs.scripts import client_types, reference
from serve_app.jobs.model import JobState

PACKAGE = Path(acestep_client.__file__).parent
PROJECT = tomllib.loads((PROJECT_ROOT / "client" / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("file", sorted(client_types.modules()), ids=lambda file: file.name)
def test_the_types_are_those_of_the_openapi_document(file: Path) -> None:
    assert file.read_text() == client_types.modules()[file], "run: python -m docs.scripts.client_types"


def keys_of(schema: Any, definitions: dict[str, Any]) -> Any:
    """The names of all properties, nested like the values that have them."""
    if "$ref" in schema:
        return keys_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "properties" in schema:
        return {name: keys_of(part, definitions) for name, part in schema["properties"].items()}
    parts = [*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")]
    return next(
        (keys for part in parts if isinstance(part, dict) and (keys := keys_of(part, definitions))), None
    )


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/usage", later_answers.Usage),
        ("/v1/music/batch", later_answers.SubmittedBatch),
        ("/v1/batches/{batch_id}", later_answers.BatchSnapshot),
    ],
)
def test_answers_that_are_written_by_hand_are_those_of_a_server_that_gives_them(
    path: str, answer: type[BaseModel]
) -> None:
    api = reference.application().openapi()
    own = answer.model_json_schema(by_alias=True)
    if path in api["paths"]:
        schemas = api["components"]["schemas"]
        assert keys_of(own, own.get("$defs", {})) in [keys_of(schema, schemas) for schema in schemas.values()]


def test_every_field_of_the_api_can_be_given_and_no_other() -> None:
    body = reference.application().openapi()["paths"]["/v1/music/generate"]["post"]["requestBody"]
    fields = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(typing.get_type_hints(SongFields)) == set(fields)


def test_every_name_that_is_offered_exists_where_it_is_said_to_be() -> None:
    for name, module in acestep_client.MODULES.items():
        assert getattr(acestep_client, name) is getattr(
            importlib.import_module(f"acestep_client.{module}"), name
        )
    stated = {
        name.name: statement.module
        for statement in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("acestep_client.")
        for name in statement.names
    }
    assert stated == {name: f"acestep_client.{module}" for name, module in acestep_client.MODULES.items()}
    with pytest.raises(AttributeError, match="Klient"):
        _ = acestep_client.Klient


def signature(method: Any) -> list[tuple[str, Any, Any]]:
    return [
        (p.name, p.kind, p.default)
        for p in inspect.signature(method).parameters.values()
        if p.name != "transport"
    ]


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, Any]:
        return {
            name: signature(member)
            for name, member in vars(kind).items()
            if not name.startswith("_") and callable(member)
        }

    assert methods(Client) == methods(AsyncClient)
    for one, other in (("Job", "AsyncJob"), ("Song", "AsyncSong"), ("Batch", "AsyncBatch")):
        assert methods(getattr(acestep_client, one)) == methods(getattr(acestep_client, other))


def imported(file: Path) -> set[str]:
    names = set()
    for statement in ast.walk(ast.parse(file.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"acestep_client"}


def test_the_library_needs_only_what_it_declares() -> None:
    declared = {requirement.partition(">")[0].replace("-", "_") for requirement in PROJECT["dependencies"]}
    everything = {name for file in PACKAGE.rglob("*.py") for name in imported(file)}
    assert everything == declared
    library = {name for file in PACKAGE.glob("*.py") for name in imported(file)}
    assert library == {"httpx", "httpx_sse", "pydantic"}


def test_importing_the_package_loads_neither_http_nor_models() -> None:
    loaded = (
        "import acestep_client, sys; print(sorted({'httpx', 'pydantic', 'rich', 'typer'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
    library = loaded.replace("import acestep_client,", "from acestep_client import Client; import").replace(
        "'httpx', 'pydantic', 'rich'", "'ray', 'torch'"
    )
    ended = subprocess.run([sys.executable, "-c", library], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_both_distributions_have_one_version() -> None:
    server = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    assert PROJECT["version"] == server["version"] == acestep_client.__version__


def test_statuses_are_those_of_jobs() -> None:
    assert set(get_args(acestep_client.JobStatus)) == set(JobState)
