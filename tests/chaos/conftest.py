"""The browser of the studio's tests, for a user of the studio who lives through a storm."""

from tests.integration.conftest import browser, open_studio, pytest_runtest_teardown  # noqa: F401, for pytest
