"""Checks of the adapters in a folder, for operators: that they are complete, finite, and fit a DiT."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments.checkpoints.adapters.errors import AdapterError
from deployments.checkpoints.adapters.finite import first_not_finite
from deployments.checkpoints.adapters.folders import AdapterFile, folder_adapters
from deployments.checkpoints.adapters.linears import Linears, decoder_linears
from deployments.checkpoints.adapters.outline import Outline, misfits
from deployments.checkpoints.catalog import dit_config_file
from deployments.common.errors import StorageError

_MISFITS_SHOWN = 3


@dataclass(frozen=True)
class AdapterReport:
    """The findings about one adapter."""

    name: str
    description: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def verify_adapters(folder: Path, dit: Path | None) -> list[AdapterReport]:
    """Reports on the adapters in `folder`, or on the one that it is.

    `dit` is the folder of a DiT that they should fit. Raises AdapterError where there is nothing to report on
    or no such DiT.
    """
    linears = None if dit is None else _linears(dit)
    files = folder_adapters(str(folder))
    if not files:
        raise AdapterError(f"{folder} holds no adapters: each is a .safetensors file, or a folder with one")
    return [_report(file, linears) for file in files.values()]


def _linears(dit: Path) -> Linears:
    try:
        return decoder_linears(json.loads(dit_config_file(dit).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{dit} is no DiT checkpoint: its config.json cannot be used") from error


def _report(file: AdapterFile, linears: Linears | None) -> AdapterReport:
    try:
        outline = file.outline
        description, warnings = _description(file, outline), outline.warnings
        problems = tuple(_problems(file, outline, linears))
    except (AdapterError, StorageError) as error:
        return AdapterReport(file.name, "not understood", (str(error),))
    return AdapterReport(file.name, description, problems, warnings)


def _problems(file: AdapterFile, outline: Outline, linears: Linears | None) -> Iterator[str]:
    found = [] if linears is None else list(misfits(outline, linears))
    yield from found[:_MISFITS_SHOWN]
    if len(found) > _MISFITS_SHOWN:
        yield f"and {len(found) - _MISFITS_SHOWN} more matrices do not fit"
    if key := first_not_finite(file.content(), file.header):
        yield f"{key} has numbers that are not finite"


def _description(file: AdapterFile, outline: Outline) -> str:
    rank = "whole factors" if outline.rank is None else f"rank {outline.rank}"
    form = f"{outline.form}, DoRA" if outline.decomposition else str(outline.form)
    numbers = f"{outline.parameters / 1e6:,.2f} M parameters, {file.file_bytes / 1e6:,.1f} MB"
    return f"{form}, {rank}, {len(outline.changes)} matrices ({', '.join(outline.targets)}), {numbers}"
