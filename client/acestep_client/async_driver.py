"""Performs the effects of flows with `httpx.AsyncClient`, in the caller's event loop."""

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, closing
from typing import Any

import httpx
import httpx_sse

from acestep_client.configuration import as_sent
from acestep_client.driver import Arguments, NewFlow
from acestep_client.effects import Course, Effect, Emit, Next, Open, Result, Send, Sleep, Stream, Tell
from acestep_client.retrying import Retries


class AsyncDriver:
    """Runs flows."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self.http = http
        self._retries = retries

    async def run(
        self, flow: NewFlow[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Run a flow to its end and return its result."""
        course = Course(flow(self._retries, *arguments, **named))
        async for _ in self._iterate(course):
            pass
        return course.result

    async def iterate(
        self, flow: NewFlow[Arguments, None], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> AsyncGenerator[Any, None]:
        """Yield the values that a flow emits."""
        async with aclosing(self._iterate(Course(flow(self._retries, *arguments, **named)))) as values:
            async for value in values:
                yield value

    async def _iterate(self, course: Course[Any]) -> AsyncGenerator[Any, None]:
        with closing(course):
            async with AsyncExitStack() as streams:
                while (effect := course.next_effect()) is not None:
                    if isinstance(effect, Emit):
                        yield effect.value
                        course.answer(None)
                        continue
                    try:
                        course.answer(await self._perform(effect, streams))
                    except httpx.TransportError as error:
                        course.fail(error)

    async def _perform(self, effect: Effect, streams: AsyncExitStack) -> Any:
        match effect:
            case Send():
                with as_sent(self.http, effect.request) as request:
                    return await self.http.send(request)
            case Open():
                await streams.aclose()
                with as_sent(self.http, effect.request) as request:
                    response = await self.http.send(request, stream=True)
                streams.push_async_callback(response.aclose)
                if not response.is_success:
                    await response.aread()
                if effect.has_events:
                    return Stream(response, httpx_sse.EventSource(response).aiter_sse())
                return Stream(response, response.aiter_bytes())
            case Next():
                return await anext(effect.stream.parts, None)
            case Sleep():
                return await asyncio.sleep(effect.seconds)
            case Tell():
                told = effect.listener(effect.value)
                return await told if inspect.isawaitable(told) else told
        raise TypeError(f"{type(effect).__name__} is no effect")
