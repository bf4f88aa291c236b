"""The messages between the API, the fork server and the processes that decode."""

import json
import struct
from dataclasses import asdict, dataclass

TASK_BYTES = 512
"""Length of an encoded task; it is padded with spaces."""
STATUS = struct.Struct("!i")
"""The exit status of a process; negative: the signal that ended it."""
NO_MEMORY, SURPRISE = "memory", "surprise"
"""Outcomes besides "converted", "refused" (an error of the file) and "failed" (an error of the machine)."""


@dataclass(frozen=True)
class Task:
    """The limits for the decoding of one recording."""

    max_seconds: float
    """Longest allowed recording."""
    memory_bytes: int
    """Limit of the address space."""
    cpu_seconds: int
    file_bytes: int
    """Limit of the output file."""

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode().ljust(TASK_BYTES)

    @classmethod
    def decoded(cls, message: bytes) -> "Task":
        return cls(**json.loads(message))
