"""Asynchronous scheduling of vLLM on a CPU.

vLLM switches it off there, because a CPU that computes a step cannot prepare the next one. The code that runs
one step ahead is the same as on a GPU, except that CUDA's streams and events wait for work: on a CPU all work
is done when a call returns.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from vllm.platforms.cpu import CpuPlatform


class _Finished:
    """A stream or an event whose work is done."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def wait_stream(self, _: Any) -> None: ...


@contextmanager
def asynchronous_on_cpu() -> Iterator[None]:
    """Engines that are made and run in this block may schedule asynchronously."""
    update = CpuPlatform.check_and_update_config

    def update_but_stay_asynchronous(vllm_config: Any) -> None:
        asked = vllm_config.scheduler_config.async_scheduling
        update(vllm_config)
        vllm_config.scheduler_config.async_scheduling = asked

    with (
        mock.patch.object(CpuPlatform, "check_and_update_config", staticmethod(update_but_stay_asynchronous)),
        mock.patch.object(torch.cuda, "Event", _Finished),
        mock.patch.object(torch.cuda, "Stream", _Finished),
        mock.patch.object(torch.cuda, "current_stream", _Finished),
        mock.patch.object(torch.cuda, "stream", nullcontext),
    ):
        yield
