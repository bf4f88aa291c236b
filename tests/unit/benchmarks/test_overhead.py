import pytest

from benchmarks.end_to_end.overhead import ON_THE_WAY, ON_THE_WAY_BACK, parts_of, table
from serve_app.admin.trace_tree import Span


def span(name: str, started: float, ended: float, parent: str | None = "job") -> Span:
    return Span(name, f"{name} {started}", parent, "part", started, ended)


def job(*inside: Span) -> list[Span]:
    return [
        Span("submit", "submit", None, "Ingress", 10.1, 10.3),
        Span("job", "job", None, "T", 10.2, 20),
        *inside,
    ]


def seconds(spans: list[Span], began: float = 10.0) -> dict[str, float]:
    return {part.name: part.seconds for part in parts_of(spans, began, 20.5)}


def test_each_moment_belongs_to_the_deepest_span() -> None:
    stage = Span("composing", "composing", "job", "Ingress", 11, 15)
    call = Span("compose", "compose", "composing", "LM", 11.5, 14.5)
    found = seconds(job(stage, call, span("codes", 12, 14, "compose")))
    assert found["codes"] == pytest.approx(2)
    assert found["compose"] == pytest.approx(1)
    assert found["composing"] == pytest.approx(1)
    assert found[ON_THE_WAY] == pytest.approx(0.1)
    assert found[ON_THE_WAY_BACK] == pytest.approx(0.5)
    assert sum(found.values()) == pytest.approx(10.5)


def test_a_moment_in_which_any_model_computes_is_work() -> None:
    songs = [span("tiles", 12, 15), span("tiles", 13, 16), span("writing", 14, 18)]
    parts = parts_of(job(*songs), 10.0, 20.0)
    assert sum(part.seconds for part in parts if part.is_work) == pytest.approx(6)
    assert sum(part.seconds for part in parts) == pytest.approx(10)


def test_what_comes_after_the_job_is_not_counted() -> None:
    assert seconds(job(span("publishing", 19, 25)))["publishing"] == pytest.approx(1)


def test_a_trace_must_have_its_job() -> None:
    with pytest.raises(ValueError, match="no span of its job"):
        parts_of([span("submit", 1, 2, None)], 0.0, 2.0)


def test_the_table_has_the_mean_of_all_jobs() -> None:
    one = parts_of(job(span("steps", 12, 16)), 10.0, 20.0)
    other = parts_of(job(span("steps", 12, 14)), 10.0, 20.0)
    rows = {row["span"]: row for row in table([one, other])}
    assert rows["steps"]["work, ms"] == pytest.approx(3000)
    assert rows["all"]["work, ms"] == pytest.approx(3000)
    assert rows["all"]["added, ms"] == pytest.approx(7000)
