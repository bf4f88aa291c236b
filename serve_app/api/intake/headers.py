"""Request headers of the routes that make jobs."""

from typing import Annotated

from fastapi import Header

Strict = Annotated[bool, Header(description="1 refuses unknown fields instead of ignoring them.")]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        max_length=255,
        pattern="^[!-~]+$",
        description="An id that the client chooses. Repeating the request with it within 24 hours "
        "returns the same job; another request with the same id is refused.",
    ),
]
