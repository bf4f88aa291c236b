"""The number of threads of an engine, alone and beside others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deployments.common import processor_share
from deployments.common.processor_share import FixedShare, ProcessorShare, share_of


class Engine:
    """Records the threads that it had in its last forward."""

    def __init__(self, folder: Path, cores: int) -> None:
        self.threads = 0
        self.share = ProcessorShare(folder, cores, self._use)

    def _use(self, threads: int) -> None:
        self.threads = threads

    def forward(self) -> int:
        self.share.set_threads()
        return self.threads


def test_an_engine_alone_has_all_cores_and_beside_others_its_share(tmp_path: Path) -> None:
    one, two, three = (Engine(tmp_path, cores=6) for _ in range(3))
    assert [one.forward(), one.forward()] == [6, 6]
    assert two.forward() == 3
    assert one.forward() == 3
    assert [three.forward(), one.forward(), two.forward()] == [2, 2, 2]
    two.share.release()
    assert [one.forward(), three.forward()] == [3, 3]
    one.share.release()
    one.share.release()
    assert three.forward() == 6


def test_more_engines_than_cores_have_one_each(tmp_path: Path) -> None:
    engines = [Engine(tmp_path, cores=2) for _ in range(4)]
    assert [engine.forward() for engine in engines] == [2, 1, 1, 1]
    assert [engine.forward() for engine in engines] == [1, 1, 1, 1]
    for engine in engines[:3]:
        engine.share.release()
    assert engines[3].forward() == 2


def test_forwards_of_one_engine_divide_its_share(tmp_path: Path) -> None:
    one, two = Engine(tmp_path, cores=6), Engine(tmp_path, cores=6)
    assert one.share.cores == 1  # The engine has not worked yet.
    one.share.set_threads(beside=2)
    assert (one.share.cores, one.threads) == (6, 4)
    one.share.set_one_thread()
    assert (one.share.cores, one.threads) == (6, 1)
    two.share.set_threads(beside=2)
    assert (two.share.cores, two.threads) == (3, 1)
    one.share.set_threads(beside=5)
    assert (one.share.cores, one.threads) == (3, 1)  # The share is never zero.


def test_a_share_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from deployments.common.processor_share import ProcessorShare\n"
        "share = ProcessorShare(Path(sys.argv[1]), 2, print); share.set_threads()\n"
        "sys.stdout.flush(); time.sleep(60)"
    )
    mine = Engine(tmp_path, cores=2)
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "2\n"
        assert mine.forward() == 1
        other.send_signal(signal.SIGKILL)
    assert mine.forward() == 2


@pytest.mark.parametrize(
    ("device", "threads", "kind"),
    [("cpu", None, ProcessorShare), ("cpu", 1, FixedShare), ("cuda", None, FixedShare)],
)
def test_engines_on_a_gpu_or_with_threads_of_their_own_share_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, threads: int | None, kind: type
) -> None:
    monkeypatch.setattr(processor_share.tempfile, "gettempdir", lambda: str(tmp_path))
    assert isinstance(share_of(device, threads), kind)


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        Engine(tmp_path, cores=2)


def test_a_share_counts_also_in_vllms_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """vLLM replaces torch's own function by one that does nothing."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _threads: None)
    monkeypatch.setattr(processor_share.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(processor_share, "core_count", lambda: 3)
    before = torch.get_num_threads()
    share = share_of("cpu", None)
    share.set_threads()
    assert torch.get_num_threads() == 3
    share.release()
    monkeypatch.undo()
    torch.set_num_threads(before)
