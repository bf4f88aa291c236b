"""The forward's caches for batches of the same rows, of which each computing thread has one."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from benchmarks.dit_config import dit_config
from deployments.checkpoints.dit_modules import AceStepTransformer1DModel
from deployments.checkpoints.key_map import Component, module_arguments
from deployments.generator.attention import SegmentedAttention, SegmentedRows
from deployments.generator.forward import PackedTransformer
from deployments.generator.kernels import Kernels
from deployments.generator.trajectory import Condition, Row

WINDOW = 8
CONFIG = dit_config(layers=2, width=128) | {"sliding_window": WINDOW}


class CountingAttention(SegmentedAttention):
    """Counts the batches that are prepared."""

    calls = 0

    def of_rows(self, lengths: Sequence[tuple[int, int]]) -> SegmentedRows:
        self.calls += 1
        return super().of_rows(lengths)


class Forwards:
    """A transformer that computes on two threads."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = AceStepTransformer1DModel(**module_arguments(Component.TRANSFORMER, CONFIG)).eval()
        self._attention = CountingAttention(WINDOW, torch.device("cpu"), torch.float32)
        self.transformer = PackedTransformer(model, Kernels.as_written(self._attention))
        self._threads = [ThreadPoolExecutor(1) for _ in range(2)]

    @property
    def prepared(self) -> int:
        """Return the number of prepared batches. Each one needs a self-attention and a cross-attention."""
        return self._attention.calls // 2

    def __call__(self, thread: int, *rows: Row) -> None:
        self._threads[thread].submit(torch.inference_mode()(self.transformer.velocities), rows).result()


@pytest.fixture
def forwards() -> Iterator[Forwards]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Forwards()
    torch.set_num_threads(before)


def row(frames: int) -> Row:
    return Row(torch.randn(frames, 64), 1.0, Condition(torch.randn(3, 128), torch.randn(frames, 128)))


def test_a_batch_is_prepared_once_while_its_rows_stay_the_same(forwards: Forwards) -> None:
    one, other = row(20), row(30)
    forwards(0, one, other)
    forwards(0, one, other)
    assert forwards.prepared == 1
    forwards(0, other)
    assert forwards.prepared == 2


def test_a_finished_song_frees_the_batches_that_it_was_in_and_no_others(forwards: Forwards) -> None:
    finished, beside_it, elsewhere = row(20), row(30), row(40)
    forwards(0, finished, beside_it)
    forwards(1, elsewhere)
    forwards.transformer.forget([finished.condition])
    forwards(1, elsewhere)
    assert forwards.prepared == 2
    forwards(0, finished, beside_it)
    assert forwards.prepared == 3


def test_clearing_frees_the_batches_of_all_threads(forwards: Forwards) -> None:
    one, other = row(20), row(30)
    forwards(0, one)
    forwards(1, other)
    forwards.transformer.clear_caches()
    forwards(0, one)
    forwards(1, other)
    assert forwards.prepared == 4
