"""Python client of acestep-serve. Everything that one needs is imported from here.

Names are loaded when they are first used, so that importing the package costs a program next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acestep_client.answers import Condition as Condition
    from acestep_client.answers import JobResult as JobResult
    from acestep_client.answers import JobSnapshot as JobSnapshot
    from acestep_client.answers import JobStatus as JobStatus
    from acestep_client.answers import LanguageModel as LanguageModel
    from acestep_client.answers import Models as Models
    from acestep_client.answers import MusicModel as MusicModel
    from acestep_client.answers import Stats as Stats
    from acestep_client.answers import WrittenSong as WrittenSong
    from acestep_client.async_client import AsyncClient as AsyncClient
    from acestep_client.async_handles import AsyncBatch as AsyncBatch
    from acestep_client.async_handles import AsyncJob as AsyncJob
    from acestep_client.async_handles import AsyncSong as AsyncSong
    from acestep_client.client import Client as Client
    from acestep_client.errors import AcestepError as AcestepError
    from acestep_client.errors import AuthenticationError as AuthenticationError
    from acestep_client.errors import BusyError as BusyError
    from acestep_client.errors import ConflictError as ConflictError
    from acestep_client.errors import IncompatibleServerError as IncompatibleServerError
    from acestep_client.errors import InvalidRequestError as InvalidRequestError
    from acestep_client.errors import JobCancelledError as JobCancelledError
    from acestep_client.errors import JobError as JobError
    from acestep_client.errors import JobFailedError as JobFailedError
    from acestep_client.errors import NotFoundError as NotFoundError
    from acestep_client.errors import Problem as Problem
    from acestep_client.errors import RefusedError as RefusedError
    from acestep_client.errors import ServerFaultError as ServerFaultError
    from acestep_client.errors import UnavailableError as UnavailableError
    from acestep_client.errors import UnreachableError as UnreachableError
    from acestep_client.errors import WaitTimeoutError as WaitTimeoutError
    from acestep_client.fields import FormatFields as FormatFields
    from acestep_client.fields import SampleFields as SampleFields
    from acestep_client.fields import SongFields as SongFields
    from acestep_client.fields import UnderstandFields as UnderstandFields
    from acestep_client.handles import Batch as Batch
    from acestep_client.handles import Job as Job
    from acestep_client.handles import Song as Song
    from acestep_client.later_answers import BatchSnapshot as BatchSnapshot
    from acestep_client.later_answers import Usage as Usage
    from acestep_client.retrying import Retries as Retries
    from acestep_client.uploads import Upload as Upload

__version__ = "0.1.0"

MODULES = {
    "Condition": "answers",
    "JobResult": "answers",
    "JobSnapshot": "answers",
    "JobStatus": "answers",
    "LanguageModel": "answers",
    "Models": "answers",
    "MusicModel": "answers",
    "Stats": "answers",
    "WrittenSong": "answers",
    "AsyncClient": "async_client",
    "AsyncJob": "async_handles",
    "AsyncSong": "async_handles",
    "Client": "client",
    "AcestepError": "errors",
    "AuthenticationError": "errors",
    "BusyError": "errors",
    "ConflictError": "errors",
    "IncompatibleServerError": "errors",
    "InvalidRequestError": "errors",
    "JobCancelledError": "errors",
    "JobError": "errors",
    "JobFailedError": "errors",
    "NotFoundError": "errors",
    "Problem": "errors",
    "RefusedError": "errors",
    "ServerFaultError": "errors",
    "UnavailableError": "errors",
    "UnreachableError": "errors",
    "WaitTimeoutError": "errors",
    "FormatFields": "fields",
    "SampleFields": "fields",
    "SongFields": "fields",
    "UnderstandFields": "fields",
    "Job": "handles",
    "Song": "handles",
    "Retries": "retrying",
    "Upload": "uploads",
    "BatchSnapshot": "later_answers",
    "Usage": "later_answers",
    "Batch": "handles",
    "AsyncBatch": "async_handles",
}
"""The module of each name that the package offers."""


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *MODULES]
