"""vLLM's worker for a CPU without the process groups of a distributed one: an engine has one worker.

vLLM makes thirteen process groups of one, and gloo looks a hundred times a second after each: that took 1.0
to 1.6 % of a core for nothing, as much as an empty replica.
"""

import torch
from vllm.distributed import parallel_state
from vllm.v1.worker.cpu_worker import CPUWorker
from vllm.v1.worker.worker_base import CompilationTimes


class LoneWorker(CPUWorker):
    """Leaves its process groups once the model is ready; with one member vLLM does nothing with them."""

    def init_device(self) -> None:
        # What an earlier engine of this process has left.
        parallel_state.destroy_model_parallel()
        parallel_state.destroy_distributed_environment()
        super().init_device()

    def compile_or_warm_up_model(self) -> CompilationTimes:
        times = super().compile_or_warm_up_model()
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() == 1:
            for group in [reference() for reference in parallel_state._groups.values()]:
                if group is not None:
                    group.destroy()
            torch.distributed.destroy_process_group()
        return times
