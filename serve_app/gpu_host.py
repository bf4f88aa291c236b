"""Whether this machine can run the GPU build: `python -m serve_app.gpu_host [--before-install]`.

The check runs before packages are installed and before checkpoints are downloaded, so that problems are
reported early. It imports only the standard library, because nothing else is installed at that time.
"""

import argparse
import ctypes
import os
import runpy
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

CUDA = (13, 0)
"""CUDA version of the torch build in constraints-gpu.txt."""
DRIVER = "R580"
"""Oldest driver that supports this CUDA version."""
PACKAGES_GB = 15
"""Disk that the packages of the extra `gpu` take while they are installed; estimated."""

_LIBRARY = "libcuda.so.1"
"""The library of the NVIDIA driver, which no Python package contains."""


def problems(installed: bool = True) -> list[str]:
    """One sentence for each reason why this machine cannot run the GPU build, with its remedy.

    The disk space is checked before the packages are `installed`, the build of torch afterwards.
    """
    return [*_of_the_driver(), *_of_the_compiler(), *(_of_torch() if installed else _of_the_disk())]


def _of_the_driver() -> Iterator[str]:
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        yield (
            f"No NVIDIA driver was found ({_LIBRARY}): install driver {DRIVER} or newer, or start "
            "the container with `--gpus all`."
        )
        return
    number = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(number))
    version = divmod(number.value // 10, 100)
    if version < CUDA:
        yield (
            f"The NVIDIA driver knows CUDA up to {_dotted(version)}, and torch is built for {_dotted(CUDA)}: "
            f"install driver {DRIVER} or newer."
        )
        return
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(number)) != 0 or number.value == 0:
        yield (
            "The NVIDIA driver shows no GPU to this process: does `nvidia-smi` list one, and does "
            "CUDA_VISIBLE_DEVICES hide it?"
        )


def _of_the_compiler() -> Iterator[str]:
    """Triton compiles its launchers in C when a model is loaded."""
    if not any(map(shutil.which, (os.environ.get("CC") or "gcc", "clang"))):
        yield "No C compiler was found: install gcc, or name one in the environment variable CC."
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        yield f"Python's header {header} is missing: install it (python{version}-dev on Debian and Ubuntu)."


def _of_the_disk() -> Iterator[str]:
    free = shutil.disk_usage(sys.prefix).free / 1e9
    if free < PACKAGES_GB:
        yield (
            f"The packages take some {PACKAGES_GB} GB while they are installed, and the disk of {sys.prefix} "
            f"has {free:.1f} GB free."
        )


def _of_torch() -> Iterator[str]:
    found = find_spec("torch")
    if found is None or found.origin is None:
        yield "torch is not installed: `make run` installs it."
        return
    # Importing torch would take seconds.
    version = runpy.run_path(str(Path(found.origin).with_name("version.py")))
    if version["cuda"] is None:
        yield (
            f"The installed torch ({version['__version__']}) is a build for CPUs: remove .venv and run "
            "`make run` again with this config file, or install with `--constraint constraints-gpu.txt`."
        )


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def main() -> int:
    """Print the problems; the exit code is 1 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.gpu_host", description=__doc__)
    parser.add_argument("--before-install", action="store_true", help="the packages are not installed yet")
    found = problems(installed=not parser.parse_args().before_install)
    if found:
        print("This machine cannot run the GPU build:", *found, sep="\n- ", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
