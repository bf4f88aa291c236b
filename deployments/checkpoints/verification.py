"""Checks that checkpoints are complete, by their configs and the headers of their weight files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from configs.domain import CODE_COUNT, code_token
from deployments.checkpoints.catalog import (
    OFFICIAL_DITS,
    OFFICIAL_LANGUAGE_MODELS,
    dit_config_file,
    variant_of,
)
from deployments.checkpoints.errors import CheckpointError
from deployments.checkpoints.key_map import SILENCE_FILE, Component
from deployments.checkpoints.layouts import (
    LM_HEAD,
    Layout,
    diffusers_dit_layout,
    language_model_layout,
    original_dit_layout,
    silence_shape,
    text_encoder_layout,
    vae_layout,
)
from deployments.checkpoints.loading import DIFFUSERS_STEM, TRANSFORMERS_STEM, load_tokenizer, read_silence
from deployments.checkpoints.weights import TensorHeader, read_config, read_headers, weight_files

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The dtypes that can be served: safetensors' name -> torch's name."""
_NAMES_SHOWN = 3
_FIRST_CODE, _LAST_CODE = code_token(0), code_token(CODE_COUNT - 1)


class Kind(StrEnum):
    """The kinds of checkpoints. A server needs one of each."""

    DIT = "DiT"
    VAE = "VAE"
    TEXT_ENCODER = "text encoder"
    LANGUAGE_MODEL = "5Hz LM"


@dataclass(frozen=True)
class Report:
    """The findings about one checkpoint."""

    name: str
    """The checkpoint's path in the verified folder."""
    kind: Kind | None
    """None if the kind was not recognised."""
    description: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Weight files and the config that describes them."""

    folder: Path
    stem: str
    layout: Callable[[Mapping[str, Any]], Layout]
    prefix: str = ""
    """A prefix that all names in the files may have."""
    optional: frozenset[str] = frozenset()
    """Tensors that the files may hold without being in the layout."""


def verify(folder: Path) -> list[Report]:
    """Reports on `folder` if it is a checkpoint, otherwise on each of its subfolders.

    Raises CheckpointError if there is no checkpoint to report on.
    """
    if _is_checkpoint(folder):
        return list(_reports(folder, folder.name))
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not inside:
        raise CheckpointError(f"{folder} holds no checkpoint: each has a subfolder of its own")
    return [report for path in inside for report in _reports(path, path.name)]


def missing_kinds(reports: Iterable[Report]) -> list[Kind]:
    """The kinds that a server needs and that `reports` lack."""
    there = {report.kind for report in reports}
    return [kind for kind in Kind if kind not in there]


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "config.json").is_file() or _in_diffusers_layout(folder)


def _in_diffusers_layout(folder: Path) -> bool:
    return (folder / Component.TRANSFORMER).is_dir() or (folder / "model_index.json").is_file()


def _reports(folder: Path, name: str) -> Iterator[Report]:
    try:
        kind = _kind(folder)
    except CheckpointError as error:
        yield Report(name, None, "not recognised", (str(error),))
        return
    yield _report(folder, name, kind)
    if kind is Kind.DIT and _in_diffusers_layout(folder):
        for nested in ("vae", "text_encoder"):
            if (folder / nested).is_dir():
                yield from _reports(folder / nested, f"{name}/{nested}")


def _kind(folder: Path) -> Kind:
    if _in_diffusers_layout(folder):
        return Kind.DIT
    config = read_config(folder / "config.json")
    if config.get("_class_name") == "AutoencoderOobleck":
        return Kind.VAE
    if config.get("model_type") == "acestep":
        return Kind.DIT
    if config.get("model_type") == "qwen3":
        return Kind.LANGUAGE_MODEL if _writes_codes(folder) else Kind.TEXT_ENCODER
    raise CheckpointError(f"{folder / 'config.json'} describes no part of ACE-Step 1.5")


def _writes_codes(folder: Path) -> bool:
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        return _FIRST_CODE in tokenizer.read_text(encoding="utf-8", errors="replace")
    return folder.name in OFFICIAL_LANGUAGE_MODELS


def _report(folder: Path, name: str, kind: Kind) -> Report:
    found: dict[str, TensorHeader] = {}
    problems: list[str] = []
    for part in _parts(folder, kind):
        try:
            headers = _headers(part)
            found |= {f"{part.folder}/{key}": header for key, header in headers.items()}
            layout = part.layout(read_config(part.folder / "config.json"))
        except CheckpointError as error:
            problems.append(str(error))
        else:
            problems += _differences(layout, headers, part.optional)
    for check in _CHECKS[kind]:
        try:
            check(folder)
        except CheckpointError as error:
            problems.append(str(error))
    problems = list(dict.fromkeys(problems))  # a missing config.json is reported more than once
    return Report(name, kind, _description(folder, kind, found), tuple(problems))


def _parts(folder: Path, kind: Kind) -> list[_Part]:
    if kind is Kind.DIT and _in_diffusers_layout(folder):
        return [
            _Part(folder / component, DIFFUSERS_STEM, partial(diffusers_dit_layout, component))
            for component in Component
        ]
    if kind is Kind.DIT:
        return [_Part(folder, TRANSFORMERS_STEM, original_dit_layout)]
    if kind is Kind.VAE:
        return [_Part(folder, DIFFUSERS_STEM, vae_layout)]
    layout = language_model_layout if kind is Kind.LANGUAGE_MODEL else text_encoder_layout
    return [_Part(folder, TRANSFORMERS_STEM, layout, prefix="model.", optional=frozenset({LM_HEAD}))]


def _headers(part: _Part) -> dict[str, TensorHeader]:
    headers = read_headers(weight_files(part.folder, part.stem))
    return {key.removeprefix(part.prefix): header for key, header in headers.items()}


def _differences(
    expected: Layout, found: Mapping[str, TensorHeader], optional: frozenset[str]
) -> Iterator[str]:
    if missing := sorted(expected.keys() - found.keys()):
        yield f"lacks {_some(missing)}"
    if odd := sorted(found.keys() - expected.keys() - optional):
        yield f"has {_some(odd)} that its config does not know"
    wrong = [
        f"{name} {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in sorted(expected.items())
        if name in found and found[name].shape != shape
    ]
    if wrong:
        yield f"has another shape than its config says in {_some(wrong)}"
    if strange := sorted(name for name, header in found.items() if header.dtype not in _DTYPES):
        yield f"has {_some(strange)} of another type than {', '.join(_DTYPES.values())}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    noun = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {noun}: {shown}" + (f" and {rest} more" if rest > 0 else "")


def _check_silence(folder: Path) -> None:
    if _in_diffusers_layout(folder):
        return  # its silence is a tensor of the condition encoder
    expected = silence_shape(read_config(folder / "config.json"))
    found = tuple(read_silence(folder / SILENCE_FILE).shape)
    if found != expected:
        raise CheckpointError(
            f"{SILENCE_FILE} has {found[1]} frames of {found[2]} channels, not {expected[1]} of {expected[2]}"
        )


def _check_variant(folder: Path) -> None:
    variant = variant_of(read_config(dit_config_file(folder)))
    official = OFFICIAL_DITS.get(folder.name)
    if official is not None and official.variant is not variant:
        raise CheckpointError(
            f"{folder.name} should be a {official.variant} model, its config says {variant}"
        )


def _check_text_tokenizer(folder: Path) -> None:
    load_tokenizer(folder)


def _check_code_tokens(folder: Path) -> None:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json")
    if _LAST_CODE not in file.read_text(encoding="utf-8", errors="replace"):
        raise CheckpointError(f"{file} has no token {_LAST_CODE}: its vocabulary is incomplete")


_CHECKS: dict[Kind, tuple[Callable[[Path], None], ...]] = {
    Kind.DIT: (_check_silence, _check_variant),
    Kind.VAE: (),
    Kind.TEXT_ENCODER: (_check_text_tokenizer,),
    Kind.LANGUAGE_MODEL: (_check_code_tokens,),
}


def _description(folder: Path, kind: Kind, found: Mapping[str, TensorHeader]) -> str:
    facts = [str(kind)]
    if kind is Kind.DIT:
        with suppress(CheckpointError):  # such an error is among the problems already
            facts[0] += f" ({variant_of(read_config(dit_config_file(folder)))})"
        facts.append("diffusers layout" if _in_diffusers_layout(folder) else "original layout")
    parameters = sum(header.size for header in found.values())
    facts.append(f"{parameters / 1e6:,.1f} M parameters in {len(found)} tensors")
    facts.append(", ".join(sorted({_DTYPES.get(header.dtype, header.dtype) for header in found.values()})))
    return ", ".join(fact for fact in facts if fact)
