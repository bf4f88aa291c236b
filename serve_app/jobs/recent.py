"""What was looked at recently, by job: up to a number of jobs and a size of their texts and codes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from serve_app.jobs.model import Job

MAX_JOBS = 1000
MAX_CHARACTERS = 16 << 20
"""Maximum size of all texts and audio codes together, which make up most of a large record."""
_CODE_CHARACTERS = 8

_Item = TypeVar("_Item")


class Recent(Generic[_Item]):
    """The newest items of some jobs, always including the one added last."""

    def __init__(self, characters: Callable[[_Item], int]) -> None:
        """`characters` returns the size of an item."""
        self._characters_of = characters
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._characters = 0

    def get(self, job_id: str) -> _Item | None:
        """Return the item of a job; None if it is not here."""
        item = self._items.get(job_id)
        if item is not None:
            self._items.move_to_end(job_id)
        return item

    def remember(self, job_id: str, item: _Item) -> None:
        """Add an item, and drop the least recently used ones if there are too many."""
        self.forget(job_id)
        self._items[job_id] = item
        self._characters += self._characters_of(item)
        while len(self._items) > 1 and (len(self._items) > MAX_JOBS or self._characters > MAX_CHARACTERS):
            self.forget(next(iter(self._items)))

    def forget(self, job_id: str) -> None:
        """Drop the item of a job."""
        item = self._items.pop(job_id, None)
        if item is not None:
            self._characters -= self._characters_of(item)


def characters_of_record(job: Job) -> int:
    """Return the size of a job's record."""
    request = job.spec.request
    codes = sum(map(len, job.spec.codes)) * _CODE_CHARACTERS
    texts = len(request.caption) + len(request.lyrics) + len(request.audio_code_string)
    return texts + codes + characters_of_result(job.result)


def characters_of_result(result: dict[str, Any] | None) -> int:
    """Return the size of the audio codes in a job's result."""
    return sum(len(text or "") for text in (result or {}).get("audio_codes") or [])
