"""The adapters that requests may name: their listing, and checks of a request's choice.

Everything is read on the machine of the API, so that a bad choice is refused when it is made. All methods
read files, and block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from configs.settings import ModelSettings
from deployments.checkpoints.adapters.bases import dit_linears
from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.finite import first_not_finite
from deployments.checkpoints.adapters.folders import AdapterFile
from deployments.checkpoints.adapters.linears import Linears
from deployments.checkpoints.adapters.outline import Outline, misfits
from deployments.checkpoints.adapters.shelf import AdapterShelf
from deployments.common.errors import StorageError
from deployments.common.messages import AdapterUse
from serve_app.request.errors import invalid

_NAMES_SHOWN = 20


@dataclass(frozen=True)
class ListedAdapter:
    """An adapter, as the server lists it."""

    file: AdapterFile
    outline: Outline | None
    """None where the file cannot be used."""
    models: tuple[str, ...]
    """The DiTs that it fits."""
    problem: str | None
    """Why it cannot be used."""


class KnownAdapters:
    """The adapters of `models.adapters`, and the DiTs of this server."""

    def __init__(self, models: ModelSettings) -> None:
        self._shelf = AdapterShelf(models.adapters)
        self._has_folders = bool(models.adapters)
        self._models = models
        self._sound: dict[tuple[str, str], str | None] = {}
        """The problem of a file's numbers, by its URI and version; None for a file without one."""
        self._known_linears: dict[str, Linears] = {}
        self._lock = Lock()

    @property
    def has_folders(self) -> bool:
        """Whether the server has folders of adapters at all."""
        return self._has_folders

    def listed(self) -> list[ListedAdapter]:
        """All adapters. Raises StorageError where a folder cannot be listed."""
        return [self._listed(file) for file in self._shelf.files().values()]

    def find(self, name: str) -> AdapterFile | None:
        """The adapter called `name`. Raises StorageError."""
        return self._shelf.find(name)

    def at(self, path: str) -> ListedAdapter | None:
        """The adapter of that name, or the one at a path in a folder of adapters. Raises StorageError.

        The path is compared with what the listing found, and never opened.
        """
        path = path.rstrip("/")
        file = self._shelf.find(path)
        if file is None:
            found = (each for each in self._shelf.files().values() if path in (each.place, each.uri))
            file = next(found, None)
        return None if file is None else self._listed(file)

    def check(self, uses: tuple[AdapterUse, ...], dit: str) -> None:
        """Raises RequestValidationError for adapters that the DiT called `dit` cannot be given.

        Raises StorageError where a file cannot be read.
        """
        decomposed = []
        for use in uses:
            outline = self._usable(use.name, dit)
            if outline.decomposition is not None and use.scale != 0:
                decomposed.append(use.name)
        if len(decomposed) > 1:
            names = " and ".join(map(repr, decomposed))
            raise invalid("adapters", f"Only one of the adapters of a song may be a DoRA, not {names}")

    def _usable(self, name: str, dit: str) -> Outline:
        """The outline of an adapter that fits. Raises RequestValidationError and StorageError."""
        file = self._shelf.find(name)
        if file is None:
            raise invalid("adapters", f"This server has no adapter {name!r}{self._others()}", "enum")
        try:
            outline = file.outline
            linears = self._linears(dit)
            if linears is not None and (misfit := next(misfits(outline, linears), None)):
                raise AdapterError(f"it does not fit {dit}: {misfit}{self._fitting(outline)}")
            if problem := self._problem_of_numbers(file):
                raise AdapterError(problem)
        except AdapterError as error:
            raise invalid("adapters", f"The adapter {name!r} cannot be used: {error}") from error
        return outline

    def _others(self) -> str:
        names = list(self._shelf.files())
        if not names:
            return ": it has none"
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return f", only {', '.join(names[:_NAMES_SHOWN])}{more}"

    def _fitting(self, outline: Outline) -> str:
        fitting = list(self._fitted(outline))
        return f"; it fits {', '.join(fitting)}" if fitting else ""

    def _fitted(self, outline: Outline) -> Iterator[str]:
        """The DiTs of this server that an adapter fits."""
        for dit in self._models.dits:
            linears = self._linears(dit)
            if linears is not None and not any(misfits(outline, linears)):
                yield dit

    def _linears(self, dit: str) -> Linears | None:
        """The matrices of a DiT; None while this machine does not know them."""
        if dit not in self._known_linears and (found := dit_linears(self._models, dit)) is not None:
            self._known_linears[dit] = found
        return self._known_linears.get(dit)

    def _problem_of_numbers(self, file: AdapterFile) -> str | None:
        """Return the problem of a file's numbers. The file is read whole, once for each version."""
        key = file.uri, file.version
        with self._lock:
            if key not in self._sound:
                found = first_not_finite(file.content(), file.header)
                self._sound[key] = found and f"{found} has numbers that are not finite"
            return self._sound[key]

    def _listed(self, file: AdapterFile) -> ListedAdapter:
        try:
            outline = file.outline
        except (AdapterError, StorageError) as error:
            return ListedAdapter(file, None, (), str(error))
        models = tuple(self._fitted(outline))
        knows_all = all(self._linears(dit) is not None for dit in self._models.dits)
        problem = None
        if not models and knows_all:
            linears: Linears = self._linears(self._models.dits[0]) or {}
            problem = f"it fits no model of this server: {next(misfits(outline, linears))}"
        return ListedAdapter(file, outline, models, problem)
