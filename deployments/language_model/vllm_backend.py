"""The LM on vLLM: continuous batching of guided pairs, unguided runs and metadata in one engine."""

import asyncio
import json
import os
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from configs.settings import LanguageModelSettings
from deployments.errors import EngineError
from deployments.language_model.backend import StallWatch, TokenRequest
from deployments.language_model.observer import EngineObserver
from deployments.language_model.run_row import RunRow
from deployments.language_model.tokenizer import LMTokenizer
from deployments.processor import core_count

_ENVIRONMENT = {
    # One child process per engine instead of two.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # The guidance processor is written for the V1 runner; the V2 runner refuses it.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    # Threads bound to cores stand still while other deployments use these cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
_CPU_WORKER = "deployments.language_model.lone_worker.LoneWorker"


class VLLMBackend:
    """A running vLLM engine with the checkpoint in `folder`. Starting it takes some ten seconds."""

    def __init__(
        self,
        folder: Path,
        tokenizer: LMTokenizer,
        settings: LanguageModelSettings,
        prefix_caching: bool = True,
        observer: EngineObserver | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="acestep-lm-")
        os.environ.update(_ENVIRONMENT, OMP_NUM_THREADS=str(settings.threads or core_count()))
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(_write_logging_config(Path(self._folder.name)))
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from deployments.language_model.vllm_model import ARCHITECTURE

        self._end_id = tokenizer.end_id
        text_tokenizer = Path(self._folder.name, "tokenizer")
        text_tokenizer.mkdir()
        tokenizer.save_text_tokenizer(text_tokenizer)
        self._engine: Any = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=str(folder),
                hf_overrides={"architectures": [ARCHITECTURE]},
                tokenizer=str(text_tokenizer),
                generation_config="vllm",
                dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                kv_cache_memory_bytes=settings.kv_cache_bytes,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                enforce_eager=settings.device == "cpu",
                enable_prefix_caching=prefix_caching,
                # Small pages find more in the prefix cache: the usual unconditional prompt has 33 tokens.
                # On a GPU vLLM's own are as small; on a CPU these are the smallest.
                block_size=32 if settings.device == "cpu" else None,
                # Pairs are prefilled whole, in one step.
                enable_chunked_prefill=False,
                max_num_batched_tokens=settings.max_model_len,
                async_scheduling=False,
                additional_config={"threads": settings.threads},
                worker_cls=_CPU_WORKER if settings.device == "cpu" else "auto",
                scheduler_cls="deployments.language_model.pair_scheduler.PairScheduler",
                logits_processors=["deployments.language_model.guidance_processor:GuidanceProcessor"],
                structured_outputs_config={"backend": "xgrammar"},
                disable_log_stats=True,
            ),
            stat_loggers=[] if observer is None else observer.vllm_stat_loggers(),
        )
        self._watch = StallWatch()
        cache = self._engine.vllm_config.cache_config
        # One page is vLLM's null page, and the last ones of two rows may be almost empty.
        self.capacity = (cache.num_gpu_blocks - 3) * cache.block_size

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        run = uuid.uuid4().hex
        other: asyncio.Task[None] | None = None
        if request.unconditional_prompt is not None:
            params = self._params(request, run, RequestOutputKind.FINAL_ONLY)
            other = asyncio.create_task(
                self._follow(request.unconditional_prompt, params, f"{run}-unconditional")
            )
        params = self._params(request, run, RequestOutputKind.DELTA)
        stream = self._engine.generate({"prompt_token_ids": request.prompt}, params, f"{run}-conditional")
        try:
            with self._watch.running():
                async for output in stream:
                    self._watch.progress()
                    answer = output.outputs[0]
                    if output.finished and answer.finish_reason not in ("stop", "length"):
                        raise EngineError(f"vLLM ended a run: {answer.finish_reason}")
                    yield [token for token in answer.token_ids if token != self._end_id]
            if other:
                await other
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineError(f"the vLLM engine failed: {error}") from error
        finally:
            await stream.aclose()
            if other:
                other.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await other

    async def check_health(self) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineError("the vLLM engine is dead") from error
        self._watch.check()

    def close(self) -> None:
        self._engine.shutdown()
        # Its destructor shuts down once more, which fails while the interpreter ends.
        self._engine = None
        self._folder.cleanup()

    async def _follow(self, prompt: list[int], params: Any, request_id: str) -> None:
        """The unconditional half: its tokens are the other half's."""
        async with aclosing(
            self._engine.generate({"prompt_token_ids": prompt}, params, request_id)
        ) as stream:
            async for _ in stream:
                pass

    def _params(self, request: TokenRequest, run: str, output_kind: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        row = RunRow(
            run=run,
            guided=request.unconditional_prompt is not None,
            unconditional=output_kind.name == "FINAL_ONLY",
            sampling=request.sampling,
            first_id=request.allowed.start,
            end_id=request.allowed.stop,
        )
        return SamplingParams(
            temperature=0.0,
            max_tokens=request.max_tokens,
            ignore_eos=not request.is_constrained,
            detokenize=False,
            output_kind=output_kind,
            structured_outputs=StructuredOutputsParams(
                regex=request.regex, structural_tag=request.structural_tag
            )
            if request.is_constrained
            else None,
            extra_args=row.as_extra_args(),
        )


def _write_logging_config(folder: Path) -> Path:
    """What vLLM does to `logging` when it is imported, here and in its own process: set one level.

    Its default would close the handlers of all loggers: the replica would write no log any more.
    Its dozen warnings are about what is chosen here on purpose and checked at the warm-up.
    """
    level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR").upper()
    config = {"version": 1, "incremental": True, "loggers": {"vllm": {"level": level}}}
    file = folder / "logging.json"
    file.write_text(json.dumps(config))
    return file
