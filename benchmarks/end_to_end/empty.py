"""A Serve application that does nothing. It shows what any application costs while it is idle."""

from typing import Any

from fastapi import FastAPI
from ray import serve

_app = FastAPI()


@_app.get("/ready")
@_app.get("/nothing")  # The proxy's middleware treats this path as any other, but lets `/ready` pass at once.
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(_app)
class Web:
    """A deployment that answers HTTP."""

    def __init__(self, *others: Any) -> None:
        self._others = others


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Empty:
    """A deployment that holds nothing."""


def build(arguments: dict[str, str]) -> serve.Application:
    """Build the application with `replicas` replicas, one of which answers HTTP."""
    web: Any = Web
    empty: Any = Empty
    others = [empty.options(name=f"Empty{number}").bind() for number in range(1, int(arguments["replicas"]))]
    return web.bind(*others)
