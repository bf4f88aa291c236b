"""The pair scheduler by itself: hundreds of runs without a model and with too few KV pages."""

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import EngineArgs, SamplingParams
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import FinishReason
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from deployments.common.messages import Sampling
from deployments.language_model.vllm_engine import pair_scheduler
from deployments.language_model.vllm_engine.pair_scheduler import AsyncPairScheduler, PairScheduler
from deployments.language_model.vllm_engine.run_row import URGENT_ROWS_KEY, RunRow

BLOCK_SIZE, BLOCKS = 32, 40
MAX_MODEL_LEN, MAX_ROWS = 512, 8
END = 1


@dataclass
class Simulation:
    """A scheduler, a simulated model, and the tokens that clients received."""

    scheduler: PairScheduler
    steps_ahead: int = 0
    """How many steps are scheduled before the model has finished the first of them."""
    scheduled: deque[SchedulerOutput] = field(default_factory=deque)
    """Steps that the model has not finished."""
    tokens: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[str, FinishReason] = field(default_factory=dict)
    most_rows: int = 0

    def step(self) -> None:
        output = self.scheduler.schedule()
        self._check(output)
        self.scheduled.append(output)
        if len(self.scheduled) > self.steps_ahead:
            self._finish_step(self.scheduled.popleft())

    def run(self, limit: int = 5000) -> None:
        for _ in range(limit):
            if not self.scheduler.has_requests():
                while self.scheduled:
                    self._finish_step(self.scheduled.popleft())
                return
            self.step()
        raise AssertionError("the scheduler does not come to an end")

    def _check(self, output: SchedulerOutput) -> None:
        halves: dict[str, set[bool]] = defaultdict(set)
        for request_id in output.num_scheduled_tokens:
            row = RunRow.of(self.scheduler.requests[request_id].sampling_params)
            if row and row.guided:
                halves[row.run].add(row.unconditional)
        assert all(both == {False, True} for both in halves.values())
        assert not output.preempted_req_ids
        self.most_rows = max(self.most_rows, len(output.num_scheduled_tokens))

    def _finish_step(self, output: SchedulerOutput) -> None:
        ids = list(output.num_scheduled_tokens)
        sampled = [[self._token(request_id)] for request_id in ids]
        model_output = ModelRunnerOutput(ids, {request_id: i for i, request_id in enumerate(ids)}, sampled)
        for outputs in self.scheduler.update_from_output(output, model_output).values():
            for told in outputs.outputs:
                assert told.request_id not in self.ends, "told after its end"
                self.tokens[told.request_id] += told.new_token_ids
                if told.finish_reason is not None:
                    self.ends[told.request_id] = told.finish_reason

    def _token(self, request_id: str) -> int:
        """Return the same token for both rows of a run at the same step.

        In numbered runs it is sometimes the end.
        """
        run = request_id.split(":")[0]
        token = random.Random(f"{run} {len(self.tokens[request_id])}").randrange(10, 40)
        return END if token == 10 and run.startswith("run") else token

    def add(self, request: Request) -> None:
        self.scheduler.add_request(request)

    def check_empty(self) -> None:
        """Assert that nothing leaked."""
        assert self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == BLOCKS - 1
        assert not self.scheduler.requests
        assert not self.scheduler._halves
        assert not self.scheduler._run_of
        assert not self.scheduler._untold


@pytest.fixture(params=[(PairScheduler, 0), (AsyncPairScheduler, 1)], ids=["step by step", "a step ahead"])
def simulation(checkpoint: Path, request: pytest.FixtureRequest) -> Simulation:
    config = EngineArgs(
        model=str(checkpoint),
        skip_tokenizer_init=True,
        dtype="float32",
        block_size=BLOCK_SIZE,
        max_model_len=MAX_MODEL_LEN,
        max_num_batched_tokens=MAX_MODEL_LEN,
        max_num_seqs=MAX_ROWS,
        enable_chunked_prefill=False,
        enable_prefix_caching=False,
        enforce_eager=True,
        additional_config={"threads": 1},
    ).create_engine_config()
    config.cache_config.num_gpu_blocks = BLOCKS
    spec = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32)
    cache = KVCacheConfig(BLOCKS, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)])
    scheduler, steps_ahead = request.param
    outputs = StructuredOutputManager(config)
    return Simulation(scheduler(config, cache, outputs, block_size=BLOCK_SIZE), steps_ahead)


def params(
    run: str, guided: bool, unconditional: bool, max_tokens: int, urgent: bool = False
) -> SamplingParams:
    row = RunRow(run, guided, unconditional, Sampling(seed=0), first_id=10, end_id=40, urgent=urgent)
    return SamplingParams(
        temperature=0, max_tokens=max_tokens, stop_token_ids=[END], extra_args=row.as_extra_args()
    )


def half(run: str, unconditional: bool, prompt: int, max_tokens: int) -> Request:
    name = f"{run}:{'unconditional' if unconditional else 'conditional'}"
    return Request(name, [5] * prompt, params(run, True, unconditional, max_tokens), None)


def solo(run: str, prompt: int, max_tokens: int, urgent: bool = False) -> Request:
    sampling = params(run, False, False, max_tokens, urgent)
    return Request(f"{run}:solo", [5] * prompt, sampling, None)


def random_run(run: str, rng: random.Random) -> list[Request]:
    max_tokens = rng.randint(1, 60)
    if rng.random() < 0.25:
        return [solo(run, rng.randint(1, 200), max_tokens)]
    return [half(run, unconditional, rng.randint(1, 200), max_tokens) for unconditional in (False, True)]


@pytest.mark.parametrize("seed", range(6))
def test_pairs_never_come_apart(simulation: Simulation, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    arrivals: list[Any] = []
    for number in range(120):
        # The rows of a run arrive at different times and between those of other runs.
        arrivals += [(number + 6 * rng.random(), request) for request in random_run(f"run{number}", rng)]
    arrivals.sort(key=lambda arrival: arrival[0])
    added: list[str] = []
    aborted: set[str] = set()
    for _, request in arrivals:
        simulation.add(request)
        added.append(request.request_id)
        for _ in range(rng.choice([0, 0, 1, 5, 20])):
            simulation.step()
        if rng.random() < 0.2:
            victim = rng.choice(added[-8:])
            if simulation.scheduler.finish_requests(victim, RequestStatus.FINISHED_ABORTED):
                aborted.add(victim.split(":")[0])
    # All rows have arrived, except those of runs that were aborted in between.
    monkeypatch.setattr(pair_scheduler, "PARTNER_TIMEOUT", 0.0)
    simulation.run()

    runs: dict[str, list[str]] = defaultdict(list)
    for request_id in added:
        runs[request_id.split(":")[0]].append(request_id)
    for run, ids in runs.items():
        if run not in aborted:
            assert len({tuple(simulation.tokens[request_id]) for request_id in ids}) == 1
            assert {simulation.ends[request_id] for request_id in ids} <= {
                FinishReason.STOP,
                FinishReason.LENGTH,
            }
    assert len(aborted) > 5
    assert simulation.most_rows > MAX_ROWS / 2
    simulation.check_empty()


def test_ending_one_half_ends_the_other_and_tells_its_client(simulation: Simulation) -> None:
    for request in (half("a", False, 50, 60), half("a", True, 20, 60)):
        simulation.add(request)
    for _ in range(3):
        simulation.step()
    simulation.scheduler.finish_requests("a:unconditional", RequestStatus.FINISHED_ABORTED)
    simulation.run()
    assert simulation.ends == {"a:conditional": FinishReason.ABORT}
    simulation.check_empty()


def test_a_half_whose_partner_never_comes_is_an_error(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation.add(half("lonely", False, 50, 60))
    simulation.add(solo("other", 50, 5))
    for _ in range(20):
        simulation.step()
    assert "other:solo" in simulation.ends
    assert not simulation.tokens["lonely:conditional"]
    monkeypatch.setattr(pair_scheduler, "PARTNER_TIMEOUT", 0.0)
    simulation.run()
    assert simulation.ends["lonely:conditional"] == FinishReason.ERROR
    simulation.check_empty()


def test_a_pair_that_can_never_fit_is_an_error_and_others_go_on(simulation: Simulation) -> None:
    for unconditional in (False, True):
        simulation.add(half("huge", unconditional, 400, 60))
    for unconditional in (False, True):
        simulation.add(half("small", unconditional, 40, 6))
    simulation.run()
    assert simulation.ends["huge:conditional"] == simulation.ends["huge:unconditional"] == FinishReason.ERROR
    assert simulation.tokens["small:conditional"] == simulation.tokens["small:unconditional"] != []
    simulation.check_empty()


def test_a_waiting_pair_is_not_overtaken(simulation: Simulation) -> None:
    for run in ("first", "second"):
        for unconditional in (False, True):
            simulation.add(half(run, unconditional, 240 if run == "second" else 190, 60))
    for number in range(5):
        simulation.add(solo(f"late{number}", 10, 60))
    simulation.step()
    running = {request.request_id.split(":")[0] for request in simulation.scheduler.running}
    assert running == {"first"}
    simulation.run()
    simulation.check_empty()


def test_an_urgent_run_starts_at_once_in_a_row_that_others_leave_free(simulation: Simulation) -> None:
    simulation.scheduler.vllm_config.additional_config[URGENT_ROWS_KEY] = 1
    for number in range(MAX_ROWS):
        simulation.add(solo(f"job{number}", 10, 30))
    simulation.step()
    assert len(simulation.scheduler.running) == MAX_ROWS - 1
    for run in ("first", "second"):
        simulation.add(solo(run, 10, 5, urgent=True))
    simulation.step()
    running = {request.request_id for request in simulation.scheduler.running}
    assert "first:solo" in running
    assert "second:solo" not in running
    while "first:solo" not in simulation.ends:
        simulation.step()
    simulation.step()
    running = {request.request_id for request in simulation.scheduler.running}
    assert "second:solo" in running  # before the job that has waited for longer
    assert len(running) == MAX_ROWS
    simulation.run()
    assert len(simulation.ends) == MAX_ROWS + 2
    simulation.check_empty()
