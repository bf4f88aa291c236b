"""The graph of deployments that `build` binds."""

from collections.abc import Sequence
from typing import Any

import pytest
from ray import serve

from configs.settings import ModelSettings, Settings
from serve_app.app import build


def graph(names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
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

    visit(build(Settings(models=ModelSettings(language_models=tuple(names)))))
    return found


def test_the_default_graph_is_four_deployments() -> None:
    assert set(graph(["lm"])) == {"Ingress", "LanguageModel", "Generator", "Codec"}


def test_each_language_model_is_a_deployment_of_its_own() -> None:
    names = ["acestep-5Hz-lm-1.7B", "acestep-5Hz-lm-0.6B", "acestep-5Hz-lm-4B"]
    deployments = graph(names)
    assert [name for name in deployments if name.startswith("LanguageModel")] == [
        "LanguageModel",
        "LanguageModel-acestep-5Hz-lm-0.6B",
        "LanguageModel-acestep-5Hz-lm-4B",
    ]
    served = [args[1] for name, args in deployments.items() if name.startswith("LanguageModel")]
    assert served == list(deployments["Ingress"][1]) == names


@pytest.mark.parametrize("names", [(), ("lm", "lm")])
def test_every_language_model_is_named_once(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="language_models"):
        ModelSettings(language_models=names)
