"""`python -m serve_app.admin verify --adapters` accepts sound adapters, and names the faults of others."""

from pathlib import Path

import pytest
import torch

from serve_app.admin.commands import main
from tests.adapters import CHECKPOINTS, DAMAGED, GOLDEN_ADAPTERS, pair, write_lora, write_tensors


def test_sound_adapters_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--adapters", str(GOLDEN_ADAPTERS)]) == 0
    shown = capsys.readouterr().out
    assert "ok    dora: peft, DoRA, rank 4, 32 matrices" in shown
    assert "ok    wide_lokr: lokr, whole factors, 52 matrices" in shown
    assert "WRONG" not in shown


def test_the_folder_of_one_adapter_may_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--adapters", str(write_lora(tmp_path, "folk", 1))]) == 0
    assert capsys.readouterr().out.startswith("ok    folk: peft, rank 4")


def test_an_adapter_of_another_model_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    model = CHECKPOINTS / "acestep-v15-turbo"
    assert main(["verify", "--adapters", str(GOLDEN_ADAPTERS), "--model", str(model)]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert [line.split(":")[0] for line in wrong] == ["WRONG xl_style"]


def test_damaged_adapters_are_named_with_their_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a pickle", "a header of 10 GB", "cut off"):
        write, problem = DAMAGED[name]
        write(tmp_path)
        assert main(["verify", "--adapters", str(tmp_path)]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("WRONG bad: ")
        assert problem in shown
    write_tensors(tmp_path / "bad.safetensors", {key: each * torch.nan for key, each in pair().items()})
    assert main(["verify", "--adapters", str(tmp_path)]) == 1
    assert "not finite" in capsys.readouterr().out


def test_a_folder_without_adapters_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--adapters", str(tmp_path)]) == 1
    assert "holds no adapters" in capsys.readouterr().err
