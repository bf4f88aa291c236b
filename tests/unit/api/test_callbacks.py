"""The callback URLs that a job may have."""

import httpx
import pytest

from configs.settings import Settings
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from tests.unit.api.conftest import LocalJobService
from tests.unit.api.test_jobs import submit


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://example.com:8080/?id=1",
        "HTTPS://EXAMPLE.COM",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "https://xn--bcher-kva.example/",
    ],
)
async def test_callbacks(http: httpx.AsyncClient, service: LocalJobService, url: str) -> None:
    await submit(http, callbackUrl=url)
    assert service.last.request.callback_url == url


async def test_private_callbacks_where_the_server_allows_them(
    service: LocalJobService, settings: Settings, storage: AudioStorage
) -> None:
    webhooks = settings.webhooks.model_copy(update={"allow_private_addresses": True})
    transport = httpx.ASGITransport(
        create_app(service, settings.model_copy(update={"webhooks": webhooks}), storage)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        await submit(http, callback_url="http://127.0.0.1:9/")
    assert service.last.request.callback_url == "http://127.0.0.1:9/"
