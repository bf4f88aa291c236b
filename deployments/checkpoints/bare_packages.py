"""Importing one model of diffusers without all the others.

The packages of diffusers import every model that they contain, which takes seconds and 100 MB in each
replica.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def bare_packages(*names: str) -> Iterator[None]:
    """In this block, modules of these packages are imported without running the packages' `__init__.py`.

    A later import of such a package runs it as usual and finds the modules that were imported here.
    """
    bare = [name for name in names if name not in sys.modules]
    for name in bare:
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"diffusers has no {name}: its version is not the one that is pinned")
        package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations or ())
        package.__spec__ = spec
        sys.modules[name] = package
    try:
        yield
    finally:
        for name in bare:
            del sys.modules[name]
