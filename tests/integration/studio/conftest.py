"""A user of the shared server in the studio."""

import pytest

from tests.integration.conftest import OpenStudio
from tests.live_server import Client
from tests.studio_page import Studio


@pytest.fixture
def studio(open_studio: OpenStudio, server: Client) -> Studio:
    """Return the page of the server without keys, in the view "Create"."""
    studio = open_studio(str(server.http.base_url))
    studio.go()
    return studio
