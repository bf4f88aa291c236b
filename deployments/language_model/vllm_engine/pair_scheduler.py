"""Keeps the two requests of a guided run, a pair, in lockstep on vLLM's scheduler.

Both are admitted in the same step, in which their prompts are prefilled whole (chunked prefill is off). KV
pages for their maximum length are reserved, so that nothing is ever preempted. If one request of a pair ends,
so does the other. Runs are served in the order of arrival: a waiting pair is not overtaken, so it never
starves. Only urgent runs, of which there are few, go before the others and have rows of their own.

vLLM calls the interface of scheduler classes unstable, so its version is pinned.
"""

import time
from collections.abc import Iterable
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import FCFSRequestQueue
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

from deployments.language_model.vllm_engine.run_row import URGENT_ROWS_KEY, RunRow

PARTNER_TIMEOUT = 10.0
"""Seconds that a request waits for its partner; the client sends the two one after the other."""


class PairScheduler(Scheduler):
    """vLLM's scheduler for engines that schedule step by step."""

    waiting: FCFSRequestQueue

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._halves: dict[str, list[str]] = {}
        """Run -> ids of its requests in the engine."""
        self._run_of: dict[str, str] = {}
        self._seen_at: dict[str, float] = {}
        self._alone: set[str] = set()
        """Runs of which one request is in the engine."""
        self._untold: list[Request] = []
        """Requests that were ended with their partner. Their clients are told with the next outputs."""

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        row = RunRow.of(request.sampling_params)
        if row and row.guided:
            self._run_of[request.request_id] = row.run
            self._halves.setdefault(row.run, []).append(request.request_id)
            self._seen_at.setdefault(row.run, time.monotonic())
            self._note_alone(row.run)

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        held: list[Request] = []
        if self.waiting or self._alone:  # in nearly all steps every request is running beside its partner
            self._end_hopeless()
            admitted, held = self._admit()
            self.waiting = FCFSRequestQueue(admitted)
        output = super().schedule(*args, **kwargs)
        self.waiting.extend(held)
        self._check_lockstep(output)
        return output

    def finish_requests(
        self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus
    ) -> list[Request]:
        if request_ids is None:
            ended: list[Request] = super().finish_requests(None, finished_status)
            return ended
        asked = {request_ids} if isinstance(request_ids, str) else set(request_ids)
        both = asked.union(*(self._partners(request_id) for request_id in asked))
        finished: list[Request] = super().finish_requests(both, finished_status)
        self._untold += [request for request in finished if request.request_id not in asked]
        return finished

    def update_from_output(self, *args: Any, **kwargs: Any) -> dict[int, EngineCoreOutputs]:
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(*args, **kwargs)
        for request in self._untold:
            told = outputs.setdefault(request.client_index, EngineCoreOutputs())
            told.outputs.append(
                EngineCoreOutput(request.request_id, [], finish_reason=request.get_finished_reason())
            )
        self._untold = []
        return outputs

    def has_finished_requests(self) -> bool:
        return bool(self._untold) or super().has_finished_requests()

    def _free_request(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        run = self._run_of.pop(request.request_id, None)
        if run is not None:
            self._halves[run].remove(request.request_id)
            self._note_alone(run)
            if not self._halves[run]:
                del self._halves[run], self._seen_at[run]
        return super()._free_request(request, *args, **kwargs)

    def _note_alone(self, run: str) -> None:
        if len(self._halves[run]) == 1:
            self._alone.add(run)
        else:
            self._alone.discard(run)

    def _partners(self, request_id: str) -> list[str]:
        run = self._run_of.get(request_id)
        return [] if run is None else list(self._halves[run])

    def _end_hopeless(self) -> None:
        """End runs of which a request never came or has ended, and runs that the engine could never hold."""
        now = time.monotonic()
        started = {request.request_id for request in self.running}
        alone = [
            half
            for run in self._alone
            for half in self._halves[run]
            if half in started or now - self._seen_at[run] > PARTNER_TIMEOUT
        ]
        empty = _Room(self, running=[])
        oversized = [
            group[0].request_id
            for request in self.waiting
            if (group := self._group(request)) and not empty.holds(group)
        ]
        hopeless = {*alone, *oversized}
        if hopeless:
            ended = self.finish_requests(hopeless, RequestStatus.FINISHED_ERROR)
            self._untold += [request for request in ended if request.request_id in hopeless]

    def _admit(self) -> tuple[list[Request], list[Request]]:
        """The waiting requests that this step starts, in whole groups, and the others in their order."""
        room = _Room(self, self.running)
        admitted: list[Request] = []
        held: list[Request] = []
        full = False
        for request in sorted(self.waiting, key=_is_ordinary):
            if request in admitted:
                continue
            group = self._group(request)
            if full or group is None:
                held.append(request)
            elif room.holds(group):
                room.take(group)
                admitted += group
                held = [other for other in held if other not in group]
            else:
                full = True
                held.append(request)
        return admitted, held

    def _group(self, request: Request) -> list[Request] | None:
        """The requests that must start together with `request`; None while they cannot start."""
        run = self._run_of.get(request.request_id)
        group = [request] if run is None else [self.requests[request_id] for request_id in self._halves[run]]
        if run is not None and len(group) < 2:
            return None
        ready = [self._handle_blocked_waiting_request(one) for one in group]
        return group if all(ready) else None

    def _check_lockstep(self, output: SchedulerOutput) -> None:
        """Raises RuntimeError if a pair came apart.

        This ends the engine: it is better to make no music than unguided music.
        """
        scheduled = output.num_scheduled_tokens
        for run, ids in self._halves.items():
            if len(ids) == 2 and (ids[0] in scheduled) != (ids[1] in scheduled):
                raise RuntimeError(f"the halves of guided run {run} came apart in the scheduler")
        for request in output.scheduled_new_reqs:
            if request.req_id in self._run_of:
                prefilled = request.num_computed_tokens + scheduled[request.req_id]
                if prefilled != len(request.prompt_token_ids or ()):
                    raise RuntimeError(f"half of a guided run was prefilled in parts: {request.req_id}")

    def _preempt_request(self, request: Request, *_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError(f"{request.request_id} was to be preempted although its memory is reserved")


def _is_ordinary(request: Request) -> bool:
    row = RunRow.of(request.sampling_params)
    return row is None or not row.urgent


class _Room:
    """The step's tokens, the batch's rows and the KV pages that are still free."""

    def __init__(self, scheduler: Any, running: list[Request]) -> None:
        self._block_size = scheduler.block_size
        self._max_model_len = scheduler.max_model_len
        urgent_rows = scheduler.vllm_config.additional_config.get(URGENT_ROWS_KEY, 0)
        self._rows = scheduler.max_num_running_reqs - len(running)
        self._ordinary_rows = scheduler.max_num_running_reqs - urgent_rows - sum(map(_is_ordinary, running))
        self._tokens = scheduler.max_num_scheduled_tokens - len(running)
        # vLLM keeps one page as its null page.
        pages = scheduler.kv_cache_manager.block_pool.num_gpu_blocks - 1
        self._pages = pages - sum(map(self._pages_of, running))

    def holds(self, group: list[Request]) -> bool:
        return bool(
            len(group) <= self._rows
            and sum(map(_is_ordinary, group)) <= self._ordinary_rows
            and sum(request.num_prompt_tokens for request in group) <= self._tokens
            and sum(map(self._pages_of, group)) <= self._pages
        )

    def take(self, group: list[Request]) -> None:
        self._rows -= len(group)
        self._ordinary_rows -= sum(map(_is_ordinary, group))
        self._tokens -= sum(request.num_prompt_tokens for request in group)
        self._pages -= sum(map(self._pages_of, group))

    def _pages_of(self, request: Request) -> int:
        longest = min(request.num_prompt_tokens + request.max_tokens, self._max_model_len)
        pages: int = -(-longest // self._block_size)
        return pages


class AsyncPairScheduler(PairScheduler, AsyncScheduler):
    """The same for engines that schedule a step while a GPU still computes the one before it.

    vLLM counts the tokens that are being computed, so both halves of a pair still take each step together.
    """
