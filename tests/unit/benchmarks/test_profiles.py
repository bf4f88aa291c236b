import pytest

from benchmarks.end_to_end.profiles import NOT_SAMPLED, OTHER, divided, read_stacks

DECODING = "_worker (concurrent/futures/thread.py:69);VaeEngine.run (deployments/codec/engine.py:115)"
WRITING = "write_song (deployments/codec/files/file_work.py:23);write (deployments/codec/files/writing.py:31)"
IDLE = "Thread.run (threading.py:971);Condition.wait (threading.py:295)"


def test_processor_time_is_divided_as_the_samples_are() -> None:
    stacks = {"Codec": read_stacks(f"{DECODING} 30\n{WRITING} 10\n{IDLE} 500\n")}
    parts = divided({"Codec": 8.0, "raylet": 2.0}, stacks)
    assert parts == pytest.approx({"decoding": 6.0, "encoding": 2.0, NOT_SAMPLED: 2.0})


def test_stacks_with_torn_names_are_left_out() -> None:
    assert read_stacks(f"{WRITING} 10\nwork (\x00\n (\n{WRITING} 2\n") == {WRITING: 12}


def test_a_process_that_only_waited_is_part_of_the_rest() -> None:
    assert divided({"Codec": 0.5}, {"Codec": read_stacks(f"{IDLE} 7\n")}) == {OTHER: 0.5}
