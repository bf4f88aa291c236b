"""The log tells whether decode steps on a GPU use CUDA graphs."""

import logging

import pytest

from deployments.language_model.vllm_engine.backend import log_decode_steps


def test_captured_graphs_and_asynchronous_scheduling_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ray.serve"):
        log_decode_steps(graphs=11, graphs_wanted=True, asynchronous=True)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "11 CUDA graphs, prepared while the GPU computes the step before" in caplog.text


@pytest.mark.parametrize(("wanted", "levels"), [(True, ["INFO", "WARNING"]), (False, ["INFO"])])
def test_graphs_that_are_wanted_and_missing_are_a_warning(
    caplog: pytest.LogCaptureFixture, wanted: bool, levels: list[str]
) -> None:
    with caplog.at_level(logging.INFO, "ray.serve"):
        log_decode_steps(graphs=0, graphs_wanted=wanted, asynchronous=False)
    assert [record.levelname for record in caplog.records] == levels
    assert "no CUDA graphs, prepared after the step before" in caplog.text
