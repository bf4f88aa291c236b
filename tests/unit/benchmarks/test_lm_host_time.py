"""How the benchmark of the language model's host time adds up parts; running it needs an engine."""

import time

import pytest

from benchmarks.lm_host_time import Stopwatch, table_of


def compute(milliseconds: float) -> None:
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


class Engine:
    def step(self) -> None:
        compute(4)
        self.sample()
        compute(4)

    def sample(self) -> None:
        compute(40)


def test_time_within_a_part_counts_for_the_inner_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("step", "sample"):
        monkeypatch.setattr(Engine, method, getattr(Engine, method))  # restores it afterwards
    watch = Stopwatch()
    watch.watch(Engine, "step", "step")
    watch.watch(Engine, "sample", "sampler")
    Engine().step()
    compute(100)
    taken = watch.taken()
    assert set(taken) == {"step", "sampler"}
    assert 8 <= taken["step"] < 40 <= taken["sampler"] < 100
    assert watch.taken() == {}


def test_a_table_has_the_least_of_each_part_and_leaves_computing_out_of_the_sum() -> None:
    rounds = [
        {"sampler": 3.0, "scheduler": 1.0, "output layer": 9.0, "by the clock": 20.0},
        {"sampler": 2.0, "scheduler": 1.5, "output layer": 8.0, "by the clock": 25.0},
    ]
    table = table_of({"before": rounds, "now": [{"sampler": 0.5, "by the clock": 2.0}]})
    rows = {row["part"]: (row["before, ms"], row["now, ms"]) for row in table}
    assert rows["sampler"] == (2.0, 0.5)
    assert rows["scheduler"] == (1.0, 0.0)
    assert rows["host time of a step"] == (3.0, 0.5)
    assert rows["output layer"] == (8.0, 0.0)
    assert rows["by the clock"] == (20.0, 2.0)
