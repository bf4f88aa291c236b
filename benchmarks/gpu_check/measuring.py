"""Measures time, memory and kernels of work on a device."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def finish(device: torch.device) -> None:
    """Wait until the device has finished all of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the mean time of one of `repeats` calls after a warm-up, from its first kernel to its last."""
    work()
    finish(device)
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        return 1000 * (time.perf_counter() - started) / repeats
    first, last = (_timing_event() for _ in range(2))
    first.record()
    for _ in range(repeats):
        work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / repeats


def _timing_event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def host_milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the time until a call returns. On a GPU that is before its work is done."""
    finish(device)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    finish(device)
    return 1000 * seconds


def first_milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the time of the first call of its kind, including everything that it prepares."""
    started = time.perf_counter()
    work()
    finish(device)
    return 1000 * (time.perf_counter() - started)


def kernels(work: Callable[[], object], device: torch.device) -> int | None:
    """Return the number of kernels that a call starts, or of operations on a CPU.

    It is None where the profiler sees nothing of the GPU: virtual machines and containers often have no
    access to its counters.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    try:
        with profile(activities=activities) as seen:
            work()
            finish(device)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    return sum(event.device_type == kind for event in seen.events() or ()) or None


def peak_gigabytes(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the most memory that was allocated and reserved during a call. On a CPU both are 0."""
    if device.type != "cuda":
        work()
        return 0.0, 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    finish(device)
    return torch.cuda.max_memory_allocated(device) / 1e9, torch.cuda.max_memory_reserved(device) / 1e9
