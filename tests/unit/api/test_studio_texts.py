"""The texts of the studio: each language has all of them, and the page asks for no others."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from serve_app.request.schemas import GenerateRequest
from serve_app.studio.files import PAGE, STATIC

PLACEHOLDER = re.compile(r"\{(\w+)\}")
LITERAL_KEY = re.compile(r"""\bt\(\s*"([^"]+)"\s*[,)]""")
KEY_PREFIX = re.compile(r"\bt\(\s*`([a-z]+\.)\$\{")
HELPLESS = {"sample_mode", "use_random_seed"}
"""Fields that the page has no control for: others stand in their place."""
READ_TEXTS = """
const [en, de] = await Promise.all(["en", "de"].map((name) => import(`${process.argv[1]}/texts/${name}.js`)));
console.log(JSON.stringify({ en: en.EN, de: de.DE }));
"""


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the texts by language, group and key."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, "--input-type=module", "--eval", READ_TEXTS, STATIC.as_uri()]
    read: dict[str, dict[str, dict[str, Any]]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return read


def modules() -> dict[str, str]:
    return {path.relative_to(STATIC).as_posix(): path.read_text() for path in STATIC.rglob("*.js")}


@pytest.mark.parametrize("group", ["page", "fields", "values"])
def test_both_languages_have_the_same_keys(texts: dict[str, dict[str, Any]], group: str) -> None:
    assert texts["de"][group].keys() == texts["en"][group].keys()


@pytest.mark.parametrize("group", ["page", "fields", "values"])
def test_both_languages_fill_in_the_same_values(texts: dict[str, dict[str, Any]], group: str) -> None:
    for key, english in texts["en"][group].items():
        german = texts["de"][group][key]
        assert type(english) is type(german), key
        assert set(PLACEHOLDER.findall(json.dumps(english))) == set(
            PLACEHOLDER.findall(json.dumps(german))
        ), key
        if isinstance(english, dict):
            assert english.keys() == german.keys() == {"one", "other"}, key


def test_every_text_that_the_page_asks_for_exists(texts: dict[str, dict[str, Any]]) -> None:
    known = texts["en"]["page"].keys()
    asked = {key for source in modules().values() for key in LITERAL_KEY.findall(source)}
    assert len(asked) > 100
    assert asked - known == set()
    prefixes = {prefix for source in modules().values() for prefix in KEY_PREFIX.findall(source)}
    assert len(prefixes) > 10
    assert {prefix for prefix in prefixes if not any(key.startswith(prefix) for key in known)} == set()


def test_every_text_is_used(texts: dict[str, dict[str, Any]]) -> None:
    sources = "\n".join(source for name, source in modules().items() if not name.startswith("texts/"))
    prefixes = tuple(KEY_PREFIX.findall(sources))
    unused = {
        key for key in texts["en"]["page"] if f'"{key}"' not in sources and not key.startswith(prefixes)
    }
    assert unused == set()


def test_every_field_of_a_request_has_a_label_and_a_german_help(texts: dict[str, dict[str, Any]]) -> None:
    fields = GenerateRequest.model_fields.keys() - {"sample_query"}  # It has a view of its own.
    assert fields - texts["en"]["fields"].keys() == set()
    assert fields - texts["de"]["help"].keys() - HELPLESS == set()


def test_the_page_asks_for_every_module_at_once() -> None:
    page = (STATIC / PAGE).read_text()
    listed = re.findall(
        r'<(?:link rel="modulepreload" href|script(?: type="module")? src)="studio/([^"]+)"', page
    )
    workers = {"js/analysis-worker.js"}  # A worker loads its own modules.
    assert sorted(listed) == sorted(modules().keys() - workers)
