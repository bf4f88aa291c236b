"""vLLM's CPU worker for an engine with a single worker.

vLLM makes thirteen process groups with one member each, and gloo polls each of them a hundred times per
second. This took 1.0 to 1.6 % of a core for nothing, as much as an empty replica.
"""

import ctypes
import mmap
from typing import Any

import torch
from torch import Tensor
from vllm.distributed import parallel_state
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.worker.cpu_worker import CPUWorker
from vllm.v1.worker.worker_base import CompilationTimes

_MADV_DONTNEED = 4
"""From sys/mman.h: the kernel frees the pages. They read as zeros and are allocated again when written."""


class LoneWorker(CPUWorker):
    """Destroys its process groups once the model is ready, because vLLM does not use groups of one member.

    Its KV cache takes memory only where it has been written. The output layer's weights are packed in parts.
    """

    def init_device(self) -> None:
        # An earlier engine of this process may have left its groups.
        parallel_state.destroy_model_parallel()
        parallel_state.destroy_distributed_environment()
        super().init_device()

    def load_model(self, **options: Any) -> None:
        super().load_model(**options)
        self.model_runner.get_model().forget_packed_vocabulary()

    def initialize_from_config(self, kv_cache_config: KVCacheConfig) -> None:
        super().initialize_from_config(kv_cache_config)
        for cache in self.model_runner.kv_caches:
            _give_back_zeros(cache)

    def compile_or_warm_up_model(self) -> CompilationTimes:
        times = super().compile_or_warm_up_model()
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() == 1:
            for group in [reference() for reference in parallel_state._groups.values()]:
                if group is not None:
                    group.destroy()
            torch.distributed.destroy_process_group()
        return times


def _give_back_zeros(cache: Tensor) -> None:
    """Free the pages of a tensor of zeros that lie wholly within it; its values stay zero."""
    storage = cache.untyped_storage()
    start = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
