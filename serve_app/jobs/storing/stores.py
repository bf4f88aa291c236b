"""Opens the store that the settings name."""

from pathlib import Path

from configs.settings import REDIS_SCHEMES, state_path
from serve_app.jobs.storing.store import JobStore, MemoryJobStore


def open_store(location: str) -> JobStore:
    """Open `jobs.store` of the settings. Raises StoreError."""
    if location == "memory":
        return MemoryJobStore()
    if location.startswith(tuple(f"{scheme}://" for scheme in REDIS_SCHEMES)):
        from serve_app.jobs.storing.redis_store import RedisJobStore

        return RedisJobStore(location)
    from serve_app.jobs.storing.sqlite_store import SqliteJobStore

    return SqliteJobStore(state_path(Path(location)))
