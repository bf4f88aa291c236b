"""Performs the effects of flows with `httpx.Client`, in the caller's thread."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from time import sleep
from typing import Any, Concatenate, ParamSpec

import httpx
import httpx_sse

from acestep_client.configuration import as_sent
from acestep_client.effects import Course, Effect, Emit, Flow, Next, Open, Result, Send, Sleep, Stream, Tell
from acestep_client.retrying import Retries

Arguments = ParamSpec("Arguments")
NewFlow = Callable[Concatenate[Retries, Arguments], Flow[Result]]
"""A function of `flows`."""


class Driver:
    """Runs flows."""

    def __init__(self, http: httpx.Client, retries: Retries) -> None:
        self.http = http
        self._retries = retries

    def run(
        self, flow: NewFlow[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Run a flow to its end and return its result."""
        course = Course(flow(self._retries, *arguments, **named))
        for _ in self._iterate(course):
            pass
        return course.result

    def iterate(
        self, flow: NewFlow[Arguments, None], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Generator[Any, None, None]:
        """Yield the values that a flow emits."""
        yield from self._iterate(Course(flow(self._retries, *arguments, **named)))

    def _iterate(self, course: Course[Any]) -> Generator[Any, None, None]:
        with closing(course), ExitStack() as streams:
            while (effect := course.next_effect()) is not None:
                if isinstance(effect, Emit):
                    yield effect.value
                    course.answer(None)
                    continue
                try:
                    course.answer(self._perform(effect, streams))
                except httpx.TransportError as error:
                    course.fail(error)

    def _perform(self, effect: Effect, streams: ExitStack) -> Any:
        match effect:
            case Send():
                with as_sent(self.http, effect.request) as request:
                    return self.http.send(request)
            case Open():
                streams.close()
                with as_sent(self.http, effect.request) as request:
                    response = self.http.send(request, stream=True)
                streams.callback(response.close)
                if not response.is_success:
                    response.read()
                if effect.has_events:
                    return Stream(response, httpx_sse.EventSource(response).iter_sse())
                return Stream(response, response.iter_bytes())
            case Next():
                return next(effect.stream.parts, None)
            case Sleep():
                return sleep(effect.seconds)
            case Tell():
                return effect.listener(effect.value)
        raise TypeError(f"{type(effect).__name__} is no effect")
