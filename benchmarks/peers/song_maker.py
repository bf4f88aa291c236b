"""Runs one job after the other in one process: a transformers loop, then diffusers' `AceStepPipeline`.

This is how the model is used without a server. Both models are loaded; one call writes the codes of a job's
songs, another one makes their sound, and soundfile or PyAV writes the files.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler
from transformers import PreTrainedTokenizerFast

from benchmarks.peers.guidance_loop import GuidanceLoop
from benchmarks.peers.song_request import SongRequest
from configs.domain import code_count, code_token
from configs.settings import ModelSettings
from deployments.checkpoints.loading import load_dit, load_text_encoder, load_tokenizer, load_vae
from deployments.checkpoints.location import checkpoint_folder
from deployments.codec.files.writing import write
from deployments.common.messages import ComposeRequest, Metadata
from deployments.tiny_checkpoints.tokenizer import END_OF_TEXT
from serve_app.request.planning import sampling
from serve_app.request.schemas import GenerateRequest


@dataclass(frozen=True)
class MadeSongs:
    """The files of a job, and the seconds of each stage."""

    files: tuple[Path, ...]
    timings: dict[str, float]


class SongMaker:
    """Holds the loaded models. Like the pipeline, it is not re-entrant."""

    def __init__(self, models: ModelSettings, dtype: torch.dtype = torch.float32) -> None:
        text_folder = checkpoint_folder(models, models.text_encoder)
        dit = load_dit(checkpoint_folder(models, models.dits[0]), "cpu", dtype)
        bpe = load_tokenizer(text_folder)
        self._pipeline = AceStepPipeline(
            vae=load_vae(checkpoint_folder(models, models.vae), "cpu", dtype),
            text_encoder=load_text_encoder(text_folder, "cpu", dtype),
            tokenizer=PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=END_OF_TEXT),
            transformer=dit.transformer,
            condition_encoder=dit.condition_encoder,
            scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
            audio_tokenizer=dit.audio_tokenizer,
            audio_token_detokenizer=dit.audio_token_detokenizer,
        )
        self._pipeline.set_progress_bar_config(disable=True)
        self._loop = GuidanceLoop(checkpoint_folder(models, models.language_models[0]), dtype)

    def make(self, request: SongRequest, folder: Path) -> MadeSongs:
        """Write the songs of one job into `folder`."""
        started = time.perf_counter()
        codes = self._codes(request) if request.thinking else None
        composed = time.perf_counter()
        songs = self._sound(request, codes)
        sounded = time.perf_counter()
        files = tuple(folder / f"{number}.{request.audio_format}" for number in range(request.batch_size))
        for song, path in zip(songs, files, strict=True):
            with path.open("wb") as file:
                write(song, request.audio_format, file)
        timings = {
            "composing": composed - started,
            "denoising and decoding": sounded - composed,
            "encoding": time.perf_counter() - sounded,
        }
        return MadeSongs(files, timings)

    def _codes(self, request: SongRequest) -> list[str]:
        """Return the codes of each song in the form that the pipeline takes."""
        metadata = Metadata(
            request.bpm, request.key_scale, request.time_signature, float(request.audio_duration)
        )
        runs = self._loop.songs(
            [
                ComposeRequest(
                    caption=request.caption,
                    lyrics=request.lyrics,
                    metadata=metadata,
                    code_count=code_count(request.audio_duration),
                    sampling=sampling(GenerateRequest(), seed, guided=True),
                    language=request.vocal_language,
                )
                for seed in request.seeds
            ]
        )
        return ["".join(map(code_token, run)) for run in runs]

    @torch.inference_mode()
    def _sound(self, request: SongRequest, codes: Sequence[str] | None) -> Any:
        """Return samples [songs, 2, samples]."""
        return self._pipeline(
            prompt=[request.caption] * request.batch_size,
            lyrics=[request.lyrics] * request.batch_size,
            audio_duration=float(request.audio_duration),
            vocal_language=[request.vocal_language] * request.batch_size,
            guidance_scale=1.0,
            generator=[torch.Generator().manual_seed(seed) for seed in request.seeds],
            bpm=request.bpm,
            keyscale=request.key_scale,
            timesignature=request.time_signature,
            audio_codes=codes,
            output_type="np",
        ).audios
