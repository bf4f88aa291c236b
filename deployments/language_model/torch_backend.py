"""The LM on transformers: the alternative to vLLM, with the same sampling code."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xgrammar
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from configs.settings import LanguageModelSettings
from deployments.errors import EngineError
from deployments.language_model.backend import StallWatch, TokenRequest
from deployments.language_model.observer import EngineObserver
from deployments.language_model.sampling import draw, guide
from deployments.language_model.tokenizer import LMTokenizer
from deployments.language_model.torch_batch import RowBatch
from deployments.processor import use_threads
from deployments.processor_share import share_of

_CLOSE = None


@dataclass(eq=False)
class _Run:
    """A request on the engine's thread."""

    request: TokenRequest
    loop: asyncio.AbstractEventLoop
    matcher: Any = None
    """xgrammar's state of a run with a grammar."""
    answers: asyncio.Queue[list[int] | EngineError | None] = field(default_factory=asyncio.Queue)
    """Tokens, then None; or an error."""
    tokens: list[int] = field(default_factory=list)
    cancelled: bool = False

    @property
    def rows(self) -> int:
        return 1 if self.request.unconditional_prompt is None else 2

    def prompts(self) -> list[list[int]]:
        other = self.request.unconditional_prompt
        return [self.request.prompt] if other is None else [self.request.prompt, other]

    def tell(self, answer: list[int] | EngineError | None) -> None:
        if not self.cancelled:
            self.loop.call_soon_threadsafe(self.answers.put_nowait, answer)


class TorchBackend:
    """A thread that decodes all runs together, one token each a step; runs join and leave at any step."""

    def __init__(
        self,
        folder: Path,
        tokenizer: LMTokenizer,
        settings: LanguageModelSettings,
        observer: EngineObserver | None = None,
    ) -> None:
        use_threads(settings.threads)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, settings.dtype))
        self._model = model.to(settings.device).eval()
        self._observer = observer or EngineObserver()
        self._share = share_of(settings.device, settings.threads)
        self._end_id = tokenizer.end_id
        self._max_rows = settings.max_num_seqs
        self.capacity = 2 * settings.max_model_len
        self._grammars = xgrammar.GrammarCompiler(
            xgrammar.TokenizerInfo.from_huggingface(
                tokenizer.text_tokenizer(),
                vocab_size=len(tokenizer.text_ids),
                stop_token_ids=[tokenizer.end_id],
            )
        )
        self._arrivals: queue.SimpleQueue[_Run | None] = queue.SimpleQueue()
        self._waiting: list[_Run] = []
        self._runs: list[_Run] = []
        """In the order of their rows in the batch."""
        self._batch = RowBatch(self._model.model)
        self._watch = StallWatch()
        self._thread = threading.Thread(target=self._work, name="language-model", daemon=True)
        self._thread.start()

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        run = _Run(request, asyncio.get_running_loop())
        if request.is_constrained:
            run.matcher = xgrammar.GrammarMatcher(await asyncio.to_thread(self._grammar, request))
        self._arrivals.put(run)
        try:
            with self._watch.running():
                while (answer := await run.answers.get()) is not None:
                    self._watch.progress()
                    if isinstance(answer, EngineError):
                        raise answer
                    yield answer
        finally:
            run.cancelled = True

    async def check_health(self) -> None:
        if not self._thread.is_alive():
            raise EngineError("the transformers engine is dead")
        self._watch.check()

    def close(self) -> None:
        self._arrivals.put(_CLOSE)
        self._thread.join()

    def _grammar(self, request: TokenRequest) -> Any:
        if request.structural_tag is not None:
            return self._grammars.compile_structural_tag(request.structural_tag)
        return self._grammars.compile_regex(request.regex)

    def _work(self) -> None:
        with torch.inference_mode():
            while self._take_arrivals():
                try:
                    self._step()
                except Exception as error:
                    for run in self._runs:
                        run.tell(EngineError(f"the transformers engine failed: {error!r}"))
                    if isinstance(error, torch.AcceleratorError):
                        raise  # the device is lost: check_health says so
                    self._runs = []
                    self._batch = RowBatch(self._model.model)

    def _take_arrivals(self) -> bool:
        """Collect new runs, waiting for one where there is nothing to do. False when the engine closes."""
        while True:
            idle = not (self._runs or self._waiting)
            if idle:
                self._share.rest()
            try:
                run = self._arrivals.get(block=idle)
            except queue.Empty:
                return True
            if run is _CLOSE:
                return False
            self._waiting.append(run)

    def _step(self) -> None:
        self._leave([run for run in self._runs if run.cancelled])
        self._share.work()
        self._join()
        if not self._runs:
            return
        tokens = self._draw()
        self._observer.stepped(len(self._batch), self._max_rows)
        for run, token in zip(self._runs, tokens, strict=True):
            run.tokens.append(token)
            if token != self._end_id:
                run.tell([token])
        self._leave([run for run in self._runs if self._is_done(run)])
        if self._runs:
            self._batch.advance([run.tokens[-1] for run in self._runs for _ in range(run.rows)])

    def _join(self) -> None:
        """Admit waiting runs in their order while their rows fit."""
        self._waiting = [run for run in self._waiting if not run.cancelled]
        while self._waiting and len(self._batch) + self._waiting[0].rows <= self._max_rows:
            run = self._waiting.pop(0)
            self._runs.append(run)
            for prompt in run.prompts():
                self._batch.join(prompt)

    def _leave(self, leaving: list[_Run]) -> None:
        if not leaving:
            return
        for run in leaving:
            run.tell(None)
        stays = [run not in leaving for run in self._runs for _ in range(run.rows)]
        self._batch.keep([row for row, stay in enumerate(stays) if stay])
        self._runs = [run for run in self._runs if run not in leaving]

    def _is_done(self, run: _Run) -> bool:
        return run.tokens[-1] == self._end_id or len(run.tokens) == run.request.max_tokens

    def _draw(self) -> list[int]:
        """The next token of each run."""
        drawn: dict[_Run, int] = {}
        for allowed in {run.request.allowed for run in self._runs}:
            runs = [run for run in self._runs if run.request.allowed == allowed]
            head = self._model.lm_head.weight[allowed.start : allowed.stop]
            logits = torch.stack([self._logits(run, head) for run in runs])
            self._apply_grammars(runs, logits)
            generated = [[token - allowed.start for token in run.tokens] for run in runs]
            tokens = draw(logits, [run.request.sampling for run in runs], generated) + allowed.start
            drawn |= dict(zip(runs, tokens.tolist(), strict=True))
        for run, token in drawn.items():
            if run.matcher is not None and not run.matcher.accept_token(token):
                raise RuntimeError("a token that the grammar does not allow was drawn")
        return [drawn[run] for run in self._runs]

    def _logits(self, run: _Run, head: Tensor) -> Tensor:
        row = sum(before.rows for before in self._runs[: self._runs.index(run)])
        logits = functional.linear(self._batch.hidden[row : row + run.rows], head).float()
        if run.rows == 1:
            return logits[0]
        scale = torch.tensor([[run.request.sampling.cfg_scale]], device=logits.device)
        return guide(logits[:1], logits[1:], scale)[0]

    def _apply_grammars(self, runs: list[_Run], logits: Tensor) -> None:
        constrained = [place for place, run in enumerate(runs) if run.matcher is not None]
        if not constrained:
            return
        bitmask = xgrammar.allocate_token_bitmask(len(runs), logits.shape[-1])
        for place in constrained:
            runs[place].matcher.fill_next_token_bitmask(bitmask, place)
        xgrammar.apply_token_bitmask_inplace(logits, bitmask.to(logits.device), indices=constrained)
