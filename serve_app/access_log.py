"""Keeps the requests that clients repeat out of Serve's log.

Serve logs each request at the level INFO. Polls would crowd everything else out of its files, and a line
costs about as much processor time as the application's part of the answer to a poll.
"""

import logging
import re

SERVE_LOGGER = "ray.serve"
_REPEATED = re.compile(r"(.* )?GET \S*(/v1/jobs/\{job_id\}|/health|/ready) 200 [\d.]+ms")
"""Serve's message about an answered poll or probe: method, route, status and duration."""


def log_no_answered_polls() -> None:
    """Make this process leave out successful polls and probes from now on, unless the level is DEBUG."""
    logging.getLogger(SERVE_LOGGER).addFilter(is_logged)


def is_logged(record: logging.LogRecord) -> bool:
    """Tell whether a record belongs in the log."""
    if not getattr(record, "serve_access_log", False) or _REPEATED.fullmatch(record.getMessage()) is None:
        return True
    return logging.getLogger(SERVE_LOGGER).isEnabledFor(logging.DEBUG)
