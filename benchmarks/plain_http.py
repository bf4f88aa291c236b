"""HTTP by hand on plain sockets, so that a thousand clients cost little."""

import asyncio
import re

ADDRESSES = 200
"""Number of addresses of 127.0.0.0/8 that clients come from, as others come from all of the internet."""
LIMIT_BYTES = 1 << 16
"""Longest line, and longest head of an answer."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AnswerError(Exception):
    """The server has answered with an error, or with something that is not understood here."""


async def connect(port: int, number: int, limit: int = LIMIT_BYTES) -> Connection:
    """Connect from the address of the client with this number; clients beyond `ADDRESSES` share them."""
    address = f"127.0.1.{number % ADDRESSES + 1}"
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=limit)


def head(
    method: str, path: str, length: int | None = None, content_type: str = "", stays: bool = False
) -> bytes:
    """Return the head of a request; the connection `stays` open after the answer, or is closed."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Connection: {'keep-alive' if stays else 'close'}",
    ]
    if length is not None:
        lines += [f"Content-Length: {length}", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "", ""]).encode()


def status(first_line: bytes) -> str:
    """Return the status in the first line of an answer; empty where the connection was closed."""
    return first_line[9:12].decode()


async def get(connection: Connection, path: str) -> bytes:
    """Ask for a path on a connection that stays open, and return the body. Raises AnswerError."""
    reader, writer = connection
    writer.write(head("GET", path, stays=True))
    began = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(began)
    if status(began) != "200" or length is None:
        raise AnswerError(f"{path}: {began.decode(errors='replace')}")
    return await reader.readexactly(int(length[1]))
