"""The LM on vLLM, with continuous batching of guided pairs and unguided runs of codes and metadata.

The engine runs on a thread of the replica's process. In a separate process, which is vLLM's default, torch
and vLLM would be imported a second time, and each token would be sent from one process to the other.
"""

import json
import logging
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from configs.settings import LanguageModelSettings
from deployments.common.errors import EngineError
from deployments.common.precision import engine_dtype
from deployments.common.processor import use_threads
from deployments.common.processor_share import share_of
from deployments.language_model.backend import URGENT_ROWS
from deployments.language_model.observer import EngineObserver
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.language_model.threaded_backend import Run, ThreadedBackend
from deployments.language_model.vllm_engine.run_row import URGENT_ROWS_KEY, RunRow

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # The guidance processor is written for the V1 runner; the V2 runner refuses it.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    # Threads bound to cores would wait while other deployments use these cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    # vLLM tries its sampler at the start. The default one, FlashInfer's, is compiled then, which needs a CUDA
    # toolkit that a machine with a driver may not have. Tokens are drawn by the guidance processor anyway.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
logger = logging.getLogger("ray.serve")

_PACKAGE = "deployments.language_model.vllm_engine"
_CPU_WORKER = f"{_PACKAGE}.lone_worker.LoneWorker"
_SCHEDULER = f"{_PACKAGE}.pair_scheduler.PairScheduler"
_ASYNC_SCHEDULER = f"{_PACKAGE}.pair_scheduler.AsyncPairScheduler"
_SEPARATOR, _CONDITIONAL, _UNCONDITIONAL = ":", "conditional", "unconditional"
_PAUSE_SECONDS = 0.001
"""Pause between two steps while every run waits."""


class VLLMBackend(ThreadedBackend):
    """A vLLM engine with the checkpoint in `folder`, in this process. It takes about ten seconds to start."""

    def __init__(
        self,
        folder: Path,
        tokenizer: LMTokenizer,
        settings: LanguageModelSettings,
        prefix_caching: bool = True,
        observer: EngineObserver | None = None,
        asynchronous: bool | None = None,
    ) -> None:
        """`asynchronous` is for tests; None means as the settings say, on a GPU.

        Raises what vLLM raises if it cannot load the checkpoint.
        """
        super().__init__("the vLLM engine", share_of(settings.device, settings.threads))
        self._checkpoint = folder
        self._tokenizer = tokenizer
        self._settings = settings
        self._prefix_caching = prefix_caching
        on_gpu = settings.device == "cuda"
        self._asynchronous = on_gpu and settings.async_scheduling if asynchronous is None else asynchronous
        self._stat_loggers = [] if observer is None else observer.vllm_stat_loggers()
        self._runs: dict[str, Run] = {}
        """The runs by name; the ids of their requests in vLLM begin with it."""
        self._silent_steps = 0
        """Steps without an answer since the last one with an answer."""
        self._start()

    def _load(self) -> None:
        settings = self._settings
        use_threads(settings.threads)
        with tempfile.TemporaryDirectory(prefix="acestep-lm-") as folder:
            os.environ.update(_ENVIRONMENT)
            os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(_write_logging_config(Path(folder)))
            from vllm import EngineArgs
            from vllm.compilation.counter import compilation_counter
            from vllm.v1.engine.llm_engine import LLMEngine

            from deployments.language_model.vllm_engine.model import ARCHITECTURE

            text_tokenizer = Path(folder, "tokenizer")
            text_tokenizer.mkdir()
            self._tokenizer.save_text_tokenizer(text_tokenizer)
            graphs_before = compilation_counter.num_cudagraph_captured
            self._engine: Any = LLMEngine.from_engine_args(
                EngineArgs(
                    model=str(self._checkpoint),
                    hf_overrides={"architectures": [ARCHITECTURE]},
                    tokenizer=str(text_tokenizer),
                    generation_config="vllm",
                    dtype=engine_dtype(settings.dtype, settings.device),
                    max_model_len=settings.max_model_len,
                    max_num_seqs=settings.max_num_seqs + URGENT_ROWS,
                    additional_config={URGENT_ROWS_KEY: URGENT_ROWS},
                    kv_cache_memory_bytes=settings.kv_cache_bytes,
                    gpu_memory_utilization=settings.gpu_memory_utilization,
                    enforce_eager=settings.device == "cpu",
                    # Graphs for whole decode steps, and for parts of other small steps: vLLM's default.
                    compilation_config={
                        "cudagraph_mode": "FULL_AND_PIECEWISE" if settings.cuda_graphs else "NONE"
                    },
                    enable_prefix_caching=self._prefix_caching,
                    # Only whole pages are found in the prefix cache, and the usual unconditional prompt has
                    # 33 tokens. 32 is the smallest page size on a CPU; on a GPU vLLM's default is as small.
                    block_size=32 if settings.device == "cpu" else None,
                    # Pairs are prefilled whole in one step.
                    enable_chunked_prefill=False,
                    max_num_batched_tokens=settings.max_model_len,
                    async_scheduling=self._asynchronous,
                    # On newer GPUs vLLM prefers FlashInfer, which is compiled at the first start, too.
                    attention_backend="FLASH_ATTN" if settings.device == "cuda" else None,
                    worker_cls=_CPU_WORKER if settings.device == "cpu" else "auto",
                    scheduler_cls=_ASYNC_SCHEDULER if self._asynchronous else _SCHEDULER,
                    logits_processors=[f"{_PACKAGE}.guidance_processor:GuidanceProcessor"],
                    structured_outputs_config={"backend": "xgrammar"},
                    disable_log_stats=not self._stat_loggers,
                ),
                stat_loggers=self._stat_loggers,
            )
        if settings.device == "cuda":
            graphs = compilation_counter.num_cudagraph_captured - graphs_before
            log_decode_steps(graphs, settings.cuda_graphs, self._asynchronous)
        cache = self._engine.vllm_config.cache_config
        # vLLM keeps one page as its null page, and the last pages of two rows may be almost empty.
        self.capacity = (cache.num_gpu_blocks - 3) * cache.block_size

    async def _prepare(self, run: Run) -> None:
        """There is nothing to do: vLLM compiles the grammar while the run waits."""

    def _admit(self, run: Run) -> None:
        name = uuid.uuid4().hex
        self._runs[name] = run
        try:
            for half, (request_id, prompt) in enumerate(zip(_request_ids(name), run.prompts(), strict=False)):
                params = self._params(run, name, is_conditional=half == 0)
                self._engine.add_request(request_id, {"prompt_token_ids": prompt}, params)
        except ValueError as error:  # vLLM refuses the request
            run.tell(EngineError(f"the vLLM engine refused a run: {error}"))
            self._leave(name)

    def _has_work(self) -> bool:
        return bool(self._runs)

    def _step(self) -> None:
        for name in [name for name, run in self._runs.items() if run.cancelled]:
            self._leave(name)
        outputs = self._engine.step()
        for output in outputs:
            name, _, half = output.request_id.partition(_SEPARATOR)
            run = self._runs.get(name)
            if run is not None and half == _CONDITIONAL:
                self._take(name, run, output)
        self._silent_steps = 0 if outputs else self._silent_steps + 1
        # An asynchronous engine answers a step later.
        if self._runs and self._silent_steps > 1:
            time.sleep(_PAUSE_SECONDS)  # every run waits for its grammar to be compiled

    def _take(self, name: str, run: Run, output: Any) -> None:
        answer = output.outputs[0]
        if output.finished and answer.finish_reason not in ("stop", "length"):
            run.tell(EngineError(f"vLLM ended a run: {answer.finish_reason}"))
            self._leave(name)
            return
        run.tell([token for token in answer.token_ids if token != self._tokenizer.end_id])
        if output.finished:
            run.tell(None)
            del self._runs[name]

    def _leave(self, name: str) -> None:
        """Take a run out of the engine before its end."""
        del self._runs[name]
        self._engine.abort_request(list(_request_ids(name)))

    def _recovered(self, error: Exception) -> bool:
        # The state of vLLM after a failed step is unknown, so the engine ends.
        for run in self._runs.values():
            run.tell(EngineError(f"the vLLM engine failed: {error!r}"))
        self._runs = {}
        return False

    def _end(self) -> None:
        for run in self._runs.values():
            run.tell(EngineError("the vLLM engine has ended"))
        self._engine.engine_core.shutdown()
        del self._engine

    def _params(self, run: Run, name: str, is_conditional: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        request = run.request
        row = RunRow(
            run=name,
            guided=request.unconditional_prompt is not None,
            unconditional=not is_conditional,
            sampling=request.sampling,
            first_id=request.allowed.start,
            end_id=request.allowed.stop,
            urgent=request.is_urgent,
        )
        return SamplingParams(
            temperature=0.0,
            max_tokens=request.max_tokens,
            ignore_eos=not request.is_constrained,
            detokenize=False,
            # The unconditional row gets the tokens of the conditional one.
            output_kind=RequestOutputKind.DELTA if is_conditional else RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(
                regex=request.regex, structural_tag=request.structural_tag
            )
            if request.is_constrained
            else None,
            extra_args=row.as_extra_args(),
        )


def log_decode_steps(graphs: int, graphs_wanted: bool, asynchronous: bool) -> None:
    """Log how a GPU runs decode steps: `graphs` CUDA graphs were captured."""
    logger.info(
        "decode steps of the language model: %s CUDA graphs, prepared %s",
        graphs or "no",
        "while the GPU computes the step before" if asynchronous else "after the step before",
    )
    if graphs_wanted and not graphs:
        logger.warning(
            "vLLM captured no CUDA graphs although language_model.cuda_graphs is true: "
            "writing codes will take several times as long; vLLM's log names the reason"
        )


def _request_ids(name: str) -> tuple[str, str]:
    """The ids of the requests of the run `name` in vLLM. Only a guided run has the second one."""
    return f"{name}{_SEPARATOR}{_CONDITIONAL}", f"{name}{_SEPARATOR}{_UNCONDITIONAL}"


def _write_logging_config(folder: Path) -> Path:
    """Write the file from which vLLM configures `logging` when it is imported. It only sets a level.

    vLLM's default would close the handlers of all loggers, and the replica would write no log any more. The
    level hides a dozen warnings about options that are chosen here on purpose and checked at the warm-up.
    """
    level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR").upper()
    config = {"version": 1, "incremental": True, "loggers": {"vllm": {"level": level}}}
    file = folder / "logging.json"
    file.write_text(json.dumps(config))
    return file
