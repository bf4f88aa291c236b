"""The LM on transformers, an alternative to vLLM that uses the same sampling code."""

import asyncio
from pathlib import Path
from typing import Any

import torch
import xgrammar
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from configs.settings import LanguageModelSettings
from deployments.common.errors import EngineError
from deployments.common.precision import engine_dtype
from deployments.common.processor import use_threads
from deployments.common.processor_share import share_of
from deployments.language_model.backend import URGENT_ROWS, TokenRequest
from deployments.language_model.observer import EngineObserver
from deployments.language_model.sampling import draw, guide
from deployments.language_model.text.tokenizer import LMTokenizer
from deployments.language_model.threaded_backend import Run, ThreadedBackend
from deployments.language_model.transformers_engine.batch import RowBatch


class TorchBackend(ThreadedBackend):
    """Decodes all runs in one batch, one token per step; runs join and leave between steps."""

    def __init__(
        self,
        folder: Path,
        tokenizer: LMTokenizer,
        settings: LanguageModelSettings,
        observer: EngineObserver | None = None,
    ) -> None:
        super().__init__("the transformers engine", share_of(settings.device, settings.threads))
        self.capacity = 2 * settings.max_model_len  # the cache grows with the runs
        self._folder = folder
        self._settings = settings
        self._tokenizer = tokenizer
        self._observer = observer or EngineObserver()
        self._waiting: list[Run] = []
        self._runs: list[Run] = []
        """The runs in the order of their rows in the batch."""
        self._start()

    def _load(self) -> None:
        settings = self._settings
        use_threads(settings.threads)
        model = AutoModelForCausalLM.from_pretrained(
            self._folder, dtype=engine_dtype(settings.dtype, settings.device), device_map=settings.device
        )
        self._model = model.eval()
        self._grammars = xgrammar.GrammarCompiler(
            xgrammar.TokenizerInfo.from_huggingface(
                self._tokenizer.text_tokenizer(),
                vocab_size=len(self._tokenizer.text_ids),
                stop_token_ids=[self._tokenizer.end_id],
            )
        )
        self._batch = RowBatch(self._model.model)

    async def _prepare(self, run: Run) -> None:
        if run.request.is_constrained:
            run.matcher = xgrammar.GrammarMatcher(await asyncio.to_thread(self._grammar, run.request))

    def _admit(self, run: Run) -> None:
        self._waiting.append(run)

    def _has_work(self) -> bool:
        return bool(self._runs or self._waiting)

    def _recovered(self, error: Exception) -> bool:
        for run in self._runs:
            run.tell(EngineError(f"the transformers engine failed: {error!r}"))
        self._runs = []
        self._batch = RowBatch(self._model.model)
        return not isinstance(error, torch.AcceleratorError)  # This error means that the device is lost.

    def _end(self) -> None:
        for run in self._waiting:
            run.tell(EngineError("the transformers engine has ended"))

    def _grammar(self, request: TokenRequest) -> Any:
        if request.structural_tag is not None:
            return self._grammars.compile_structural_tag(request.structural_tag)
        return self._grammars.compile_regex(request.regex)

    @torch.inference_mode()
    def _step(self) -> None:
        self._leave([run for run in self._runs if run.cancelled])
        self._join()
        if not self._runs:
            return
        tokens = self._draw()
        self._observer.stepped(len(self._batch), self._settings.max_num_seqs)
        for run, token in zip(self._runs, tokens, strict=True):
            run.tokens.append(token)
            if token != self._tokenizer.end_id:
                run.tell([token])
        self._leave([run for run in self._runs if self._is_done(run)])
        if self._runs:
            self._batch.advance([run.tokens[-1] for run in self._runs for _ in range(run.rows)])

    def _join(self) -> None:
        """Admit waiting runs while their rows fit: urgent ones, then the others, in their order."""
        self._waiting = [run for run in self._waiting if not run.cancelled]
        self._waiting.sort(key=lambda run: not run.request.is_urgent)
        while self._waiting and len(self._batch) + self._waiting[0].rows <= self._row_limit(self._waiting[0]):
            run = self._waiting.pop(0)
            self._runs.append(run)
            for prompt in run.prompts():
                self._batch.join(prompt)

    def _row_limit(self, run: Run) -> int:
        """Rows of the batch with which `run` may still be in it."""
        if run.request.is_urgent:
            return self._settings.max_num_seqs + URGENT_ROWS
        urgent = sum(other.rows for other in self._runs if other.request.is_urgent)
        return self._settings.max_num_seqs + min(urgent, URGENT_ROWS)

    def _leave(self, leaving: list[Run]) -> None:
        if not leaving:
            return
        for run in leaving:
            run.tell(None)
        stays = [run not in leaving for run in self._runs for _ in range(run.rows)]
        self._batch.keep([row for row, stay in enumerate(stays) if stay])
        self._runs = [run for run in self._runs if run not in leaving]

    def _is_done(self, run: Run) -> bool:
        return run.tokens[-1] == self._tokenizer.end_id or len(run.tokens) == run.request.max_tokens

    def _draw(self) -> list[int]:
        """The next token of each run."""
        drawn: dict[Run, int] = {}
        for allowed in {run.request.allowed for run in self._runs}:
            runs = [run for run in self._runs if run.request.allowed == allowed]
            head = self._model.lm_head.weight[allowed.start : allowed.stop]
            logits = torch.stack([self._logits(run, head) for run in runs])
            self._apply_grammars(runs, logits)
            samplings, generated = [run.request.sampling for run in runs], [run.tokens for run in runs]
            tokens = draw(logits, samplings, generated, allowed.start) + allowed.start
            drawn |= dict(zip(runs, tokens.tolist(), strict=True))
        for run, token in drawn.items():
            if run.matcher is not None and not run.matcher.accept_token(token):
                raise RuntimeError("a token that the grammar does not allow was drawn")
        return [drawn[run] for run in self._runs]

    def _logits(self, run: Run, head: Tensor) -> Tensor:
        row = sum(before.rows for before in self._runs[: self._runs.index(run)])
        logits = functional.linear(self._batch.hidden[row : row + run.rows], head).float()
        if run.rows == 1:
            return logits[0]
        scale = torch.tensor([[run.request.sampling.cfg_scale]], device=logits.device)
        return guide(logits[:1], logits[1:], scale)[0]

    def _apply_grammars(self, runs: list[Run], logits: Tensor) -> None:
        constrained = [place for place, run in enumerate(runs) if run.matcher is not None]
        if not constrained:
            return
        bitmask = xgrammar.allocate_token_bitmask(len(runs), logits.shape[-1])
        for place in constrained:
            runs[place].matcher.fill_next_token_bitmask(bitmask, place)
        xgrammar.apply_token_bitmask_inplace(logits, bitmask.to(logits.device), indices=constrained)
