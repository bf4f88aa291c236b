"""Checks of a machine before the GPU build is installed or started. A stub in C stands for its driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import PROJECT_ROOT
from serve_app import gpu_host

DRIVER = """
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuInit(unsigned int flags) {{ return {init}; }}
int cuDeviceGetCount(int *count) {{ *count = {gpus}; return 0; }}
"""


def driver(folder: Path, version: int = 13000, init: int = 0, gpus: int = 1) -> dict[str, str]:
    """Return the environment of a process that finds such a driver."""
    source = folder / "driver.c"
    source.write_text(DRIVER.format(version=version, init=init, gpus=gpus))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}


def asked(environment: dict[str, str], *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "serve_app.gpu_host", *options]
    ended = subprocess.run(
        command, cwd=PROJECT_ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    return ended.returncode, ended.stderr


@pytest.mark.skipif(not gpu_host.problems(), reason="this machine has a GPU")
def test_without_a_driver_it_is_said_before_anything_is_installed() -> None:
    code, said = asked({}, "--before-install")
    assert code == 1
    assert "No NVIDIA driver" in said
    assert "R580" in said


def test_a_machine_with_a_driver_a_gpu_and_a_compiler_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_host, "_LIBRARY", str(tmp_path / "libcuda.so.1"))
    monkeypatch.setattr(gpu_host, "PACKAGES_GB", 0)
    driver(tmp_path)
    assert gpu_host.problems(installed=False) == []


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"version": 12090}, "knows CUDA up to 12.9, and torch is built for 13.0"),
        ({"gpus": 0}, "shows no GPU"),
        ({"init": 100}, "shows no GPU"),
    ],
)
def test_an_old_driver_and_a_hidden_gpu_are_said(tmp_path: Path, made: dict[str, int], sentence: str) -> None:
    code, said = asked(driver(tmp_path, **made), "--before-install")
    assert code == 1
    assert sentence in said


def test_a_newer_driver_will_do(tmp_path: Path) -> None:
    _, said = asked(driver(tmp_path, version=14010))
    assert "driver" not in said


def test_a_cpu_build_of_torch_is_said(tmp_path: Path) -> None:
    """The torch of these tests is such a build."""
    code, said = asked(driver(tmp_path))
    assert code == 1
    assert "is a build for CPUs" in said
    assert "constraints-gpu.txt" in said


@pytest.mark.parametrize(("cuda", "count"), [("'13.0'", 0), ("None", 1)])
def test_torch_says_itself_what_it_is_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, count: int
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('slow')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.13.0'\ncuda = {cuda}\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    said = [sentence for sentence in gpu_host.problems() if "torch (2.13.0) is a build" in sentence]
    assert len(said) == count


def test_without_a_compiler_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    assert any("gcc" in sentence for sentence in gpu_host.problems())


def test_a_full_disk_is_said_before_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_host, "PACKAGES_GB", 10**9)
    assert any("GB free" in sentence for sentence in gpu_host.problems(installed=False))
    assert not any("GB free" in sentence for sentence in gpu_host.problems())


def test_make_run_says_it_instead_of_starting(tmp_path: Path) -> None:
    config = PROJECT_ROOT / "configs" / "single_gpu_24gb.yaml"
    ended = subprocess.run(
        [sys.executable, "-m", "serve_app.run", "--config", str(config)],
        cwd=tmp_path,
        env=os.environ | driver(tmp_path, version=12080) | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "cannot run the GPU build" in ended.stderr
    assert "R580" in ended.stderr
    assert not (tmp_path / "serve.log").exists()
