"""The graph of deployments that `build` binds."""

from typing import Any

import pytest
from ray import serve

from configs.settings import ModelSettings, Settings
from serve_app.app import Ingress, build


def graph(**models: Any) -> dict[str, tuple[Any, ...]]:
    """Return the deployments by name, each with the arguments with which it is bound."""
    found: dict[str, tuple[Any, ...]] = {}

    def visit(value: Any) -> None:
        if isinstance(value, serve.Application):
            deployment = value._bound_deployment
            assert deployment.name not in found
            found[deployment.name] = deployment.init_args
            visit(list(deployment.init_args))
        elif isinstance(value, list | dict):
            for one in value.values() if isinstance(value, dict) else value:
                visit(one)

    visit(build(Settings(models=ModelSettings(**models))))
    return found


def test_the_default_graph_is_four_deployments() -> None:
    assert set(graph()) == {"Ingress", "LanguageModel", "Generator", "Codec"}


@pytest.mark.parametrize(
    ("kind", "setting", "argument", "names"),
    [
        ("LanguageModel", "language_models", 1, ["acestep-5Hz-lm-1.7B", "lm-0.6B", "lm-4B"]),
        ("Generator", "dits", 2, ["acestep-v15-turbo", "acestep-v15-base", "acestep-v15-sft"]),
    ],
)
def test_each_checkpoint_is_a_deployment_of_its_own(
    kind: str, setting: str, argument: int, names: list[str]
) -> None:
    deployments = graph(**{setting: names})
    found = [name for name in deployments if name.startswith(kind)]
    assert found == [kind, f"{kind}-{names[1]}", f"{kind}-{names[2]}"]
    served = [deployments[name][1] for name in found]
    assert served == list(deployments["Ingress"][argument]) == names


@pytest.mark.parametrize("setting", ["language_models", "dits"])
@pytest.mark.parametrize("names", [(), ("one", "one")])
def test_every_checkpoint_is_named_once(setting: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=setting):
        ModelSettings(**{setting: names})


def test_the_setting_of_earlier_releases_names_the_only_dit() -> None:
    models = ModelSettings.model_validate({"dit": "acestep-v15-base"})
    assert models.generator_deployments == {"acestep-v15-base": "Generator"}
    with pytest.raises(ValueError, match=r"former name of models\.dits"):
        ModelSettings.model_validate({"dit": "acestep-v15-base", "dits": ["acestep-v15-turbo"]})


def test_an_ingress_replica_has_room_for_short_requests_beside_all_long_ones() -> None:
    assert Ingress.max_ongoing_requests > Settings().api.open_requests
