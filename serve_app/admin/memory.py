"""The command `memory`, which computes whether the deployments of a config file fit on their devices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve_app.admin.config_files import read_application
from serve_app.admin.errors import CommandError
from serve_app.admin.parser import add_command
from serve_app.admin.tables import size, table

if TYPE_CHECKING:
    from configs.settings import Settings
    from deployments.checkpoints.memory_needs import LanguageModelShape, Need

GIB = 1 << 30
_COLUMNS = {"DEPLOYMENT": "<", "DEVICE": "<", "DTYPE": "<", "SHARE": ">", "TAKES": ">", "OF WHICH": "<"}


@dataclass(frozen=True)
class Replica:
    """One replica of a deployment and its memory need."""

    deployment: str
    device: str
    dtype: str
    share: float
    """`num_gpus`, the fraction of a GPU that Ray reserves."""
    need: "Need"
    language_model: "LanguageModelShape | None" = None
    """The shape of the LM; None for other deployments."""


def add_commands(app: typer.Typer) -> None:
    """Add `memory`."""
    add_command(
        app,
        "memory",
        _memory,
        help="compute the GPU or main memory that a config file needs",
        description="Compute the GPU memory, or main memory, of one replica of each deployment from the "
        "shapes of the models and the settings, and whether it fits. Official checkpoints are known by "
        "name and need not be present yet. No GPU is needed; give the size that `nvidia-smi` shows.",
        epilog="exit code: 0 it fits or no size was given, 1 something does not fit, 2 wrong usage",
    )


def _size(text: str) -> int:
    try:
        byte_count = round(float(text) * GIB)
    except ValueError:
        byte_count = 0
    if byte_count <= 0:
        raise typer.BadParameter(f"{text!r} is no size in GiB such as 22.2")
    return byte_count


def _memory(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Serve config file.")],
    gpu: Annotated[
        int | None,
        typer.Option("--gpu", parser=_size, metavar="GIB", help="Size of each GPU in GiB."),
    ] = None,
    ram: Annotated[
        int | None,
        typer.Option("--ram", parser=_size, metavar="GIB", help="The machine's memory in GiB."),
    ] = None,
) -> int:
    application, settings = read_application(config)
    replicas = replicas_of(application, settings)
    print(table(_COLUMNS, [_row(replica) for replica in replicas]))
    found = [
        *_setting_problems(settings, replicas),
        *_gpu_problems(settings, replicas, gpu),
        *_machine_problems(replicas, ram),
    ]
    for problem in found:
        print(f"WRONG: {problem}")
    return 1 if found else 0


def replicas_of(application: dict[str, Any], settings: "Settings") -> list[Replica]:
    """One replica of each deployment. Raises CommandError where a checkpoint's shapes are unknown."""
    from deployments.checkpoints.errors import CheckpointError
    from deployments.checkpoints.memory_needs import codec_need, generator_need, language_model_need
    from deployments.checkpoints.shapes import codec_shape, generator_shape, language_model_shape
    from deployments.common.precision import engine_dtype
    from deployments.generator.forward import CACHED_CONDITION_TOKENS
    from deployments.generator.prompts import MAX_CAPTION_TOKENS, MAX_LYRIC_TOKENS

    shares = _shares(application)
    models, longest = settings.models, settings.api.max_duration
    songs = settings.jobs.runners * settings.api.max_batch_size  # in progress for one API replica
    text_tokens = min(CACHED_CONDITION_TOKENS, songs * (MAX_CAPTION_TOKENS + MAX_LYRIC_TOKENS + 1))

    def dtype_of(section: Any) -> str:
        return str(engine_dtype(section.dtype, section.device)).removeprefix("torch.")

    def replica(name: str, section: Any, need: "Need", shape: "LanguageModelShape | None" = None) -> Replica:
        return Replica(name, section.device, dtype_of(section), shares.get(name, 0.0), need, shape)

    language_model, generator, codec = settings.language_model, settings.generator, settings.codec
    found = []
    try:
        for name, deployment in models.language_model_deployments.items():
            shape = language_model_shape(models, name)
            need = language_model_need(shape, language_model, dtype_of(language_model))
            found.append(replica(deployment, language_model, need, shape))
        dtype = dtype_of(generator)
        for name, deployment in models.generator_deployments.items():
            shape_of_dit = generator_shape(models, name)
            has_adapters = bool(models.adapters)
            need = generator_need(shape_of_dit, generator, dtype, longest, text_tokens, has_adapters)
            found.append(replica(deployment, generator, need))
        need = codec_need(codec_shape(models), codec, dtype_of(codec))
        found.append(replica("Codec", codec, need))
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    return found


def _shares(application: dict[str, Any]) -> dict[str, float]:
    return {
        deployment["name"]: float(deployment.get("ray_actor_options", {}).get("num_gpus", 0))
        for deployment in application.get("deployments", [])
    }


def _row(replica: Replica) -> tuple[str, ...]:
    parts = ", ".join(f"{name} {size(part)}" for name, part in replica.need.parts.items())
    share = f"{replica.share:g}" if replica.share else "-"
    return replica.deployment, replica.device, replica.dtype, share, size(replica.need.total), parts


def _setting_problems(settings: "Settings", replicas: Sequence[Replica]) -> Iterator[str]:
    """Problems of the settings, independent of the size of the device."""
    from deployments.checkpoints.memory_needs import LARGEST_TENSOR, largest_activation
    from deployments.checkpoints.shapes import codec_shape

    section = settings.language_model
    for replica in replicas:
        if replica.language_model is None:
            continue
        if section.kv_cache_bytes is None:
            if 0 < replica.share < 1:
                yield (
                    f"{replica.deployment} shares its GPU, and beside others vLLM cannot measure what is "
                    "left: set language_model.kv_cache_bytes"
                )
            continue
        pair = 2 * section.max_model_len * replica.language_model.cache_bytes(replica.dtype)
        if section.kv_cache_bytes < pair:
            yield (
                f"language_model.kv_cache_bytes is {section.kv_cache_bytes}, and a guided song of "
                f"max_model_len ({section.max_model_len} tokens) takes {pair} in {replica.deployment}: raise "
                "the one or lower the other"
            )
    values = largest_activation(codec_shape(settings.models), settings.codec)
    if settings.codec.device == "cuda" and values > LARGEST_TENSOR:
        yield (
            f"{settings.codec.tile_batch} tiles of {settings.codec.tile_frames} frames make a tensor of "
            f"{values:.2e} values, and kernels address {LARGEST_TENSOR:.2e}: lower codec.tile_batch"
        )
    for replica in replicas:
        if replica.device == "cuda" and replica.share == 0:
            yield f"{replica.deployment} runs on a GPU that Ray does not set aside: give it num_gpus"


def _gpu_problems(settings: "Settings", replicas: Sequence[Replica], gpu: int | None) -> Iterator[str]:
    sharing = [replica for replica in replicas if 0 < replica.share < 1]
    together = sum(replica.need.total for replica in sharing)
    if len(sharing) > 1:
        names = ", ".join(replica.deployment for replica in sharing)
        print(f"On one GPU: {names}: {size(together)} ({together / GIB:.1f} GiB)")
    if gpu is None:
        return
    if len(sharing) > 1 and together > gpu:
        yield f"together they take {size(together)} of a GPU that has {size(gpu)}"
    for replica in replicas:
        takes, room = replica.need.total, round(replica.share * gpu)
        if replica.share >= 1 and takes > gpu:
            yield f"{replica.deployment} takes {size(takes)} of a GPU that has {size(gpu)}"
        elif replica in sharing and takes > room:
            yield (
                f"{replica.deployment} takes {size(takes)}, and num_gpus {replica.share:g} of {size(gpu)} is "
                f"{size(room)}: Ray may give others the rest"
            )
        if replica.language_model is not None and replica.device == "cuda":
            asked = round(settings.language_model.gpu_memory_utilization * gpu)
            left = max(0, gpu - (together - takes if replica in sharing else 0))
            if asked > left:
                yield (
                    f"vLLM does not start with less than {size(asked)} free (gpu_memory_utilization), and "
                    f"the others may leave {replica.deployment} {size(left)}"
                )


def _machine_problems(replicas: Sequence[Replica], ram: int | None) -> Iterator[str]:
    from deployments.checkpoints.memory_needs import OTHER_PROCESSES

    on_cpu = [replica.need.total for replica in replicas if replica.device == "cpu"]
    if not on_cpu:
        return
    together = sum(on_cpu) + OTHER_PROCESSES
    others = "of which the API, Ray and Serve"
    print(f"Of the machine: {size(together)} ({together / GIB:.1f} GiB), {others} {size(OTHER_PROCESSES)}")
    if ram is not None and together > ram:
        yield f"together they take {size(together)} of a machine that has {size(ram)}"
