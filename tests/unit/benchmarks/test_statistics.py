import numpy as np
import pytest

from benchmarks.end_to_end.load import Record
from benchmarks.end_to_end.statistics import Speed, mean_stages, percentile


def record(submitted: float, seen: float, audio_seconds: int = 10, **stages: float) -> Record:
    return Record("id", audio_seconds, submitted, submitted, submitted + 1, seen, seen, stages)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("values", [[4.0], [3.0, 1.0], [5.0, 1.0, 2.0, 8.0, 2.0]])
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(np.percentile(values, 100 * share))


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_speed_counts_from_the_first_submit_to_the_last_end() -> None:
    speed = Speed.of([record(100, 104), record(102, 110, audio_seconds=30), record(101, 103)])
    assert speed.seconds == 10
    assert speed.jobs_per_second == 0.3
    assert speed.audio_per_second == 5
    assert sorted(speed.latencies) == [2, 4, 8]
    assert speed.row()["p50, s"] == 4
    assert speed.row()["wait p50, s"] == 1


def test_stages_that_a_job_did_not_have_took_it_no_time() -> None:
    records = [record(0, 1, composing=4.0, decoding=1.0), record(0, 1, decoding=2.0)]
    assert mean_stages(records) == {"composing": 2.0, "decoding": 1.5}
