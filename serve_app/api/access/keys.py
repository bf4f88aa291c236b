"""API keys: their owners, and the share of the server that each has.

Only digests are kept. Plain SHA-256 is sufficient, because keys are 256 random bits, which cannot be guessed
even with a fast hash.
"""

import hashlib
import hmac
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from serve_app.request.schemas import MAX_PRIORITY

logger = logging.getLogger("ray.serve")

KEYS_VARIABLE = "ACESTEP_API_KEYS"
KEY_PREFIX = "acestep-"
KEY_BYTES = 32
KEYS_PER_NAME = 2
"""The old and the new key while a client changes its key."""


class ApiKey(BaseModel):
    """One entry of the keys file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The first character is a letter and there is no colon, so a name is never also a network address.
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$", description="Whose key it is.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hexadecimal SHA-256 of the key.")
    weight: float = Field(1.0, gt=0, le=1000, description="Share of the server while others wait, too.")
    max_priority: int = Field(0, ge=0, le=MAX_PRIORITY, description="Highest `priority` it may ask for.")
    audio_seconds_per_day: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Seconds of music that it may make in a day (UTC)."
    )


class KeyRing:
    """All keys of a server. A name may have two keys, which must grant the same."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """Raises ValueError where keys are inconsistent."""
        self._keys = tuple(keys)
        by_name: defaultdict[str, list[ApiKey]] = defaultdict(list)
        for key in self._keys:
            by_name[key.name].append(key)
        for name, named in by_name.items():
            if len(named) > KEYS_PER_NAME:
                raise ValueError(
                    f"{name} has {len(named)} API keys: at most {KEYS_PER_NAME} may share a name"
                )
            if len({(key.weight, key.max_priority, key.audio_seconds_per_day) for key in named}) > 1:
                raise ValueError(
                    f"the API keys of {name} need the same weight, the same max_priority and the same "
                    "audio_seconds_per_day"
                )
        digests = [key.sha256 for key in self._keys]
        if len(set(digests)) < len(digests):
            names = ", ".join(sorted(key.name for key in self._keys if digests.count(key.sha256) > 1))
            raise ValueError(f"API keys need digests of their own; one is there twice: {names}")

    def find(self, presented: str) -> ApiKey | None:
        """The entry of a key, by comparisons in constant time."""
        digest = digest_of(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def digest_of(key: str) -> str:
    """The digest by which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    """A new random key."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def load_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> KeyRing | None:
    """The keys of the file and of the environment; None where there is neither, on an open server.

    Raises ValueError, which does not quote the keys, where they are invalid.
    """
    if file is not None and file.exists() and file.stat().st_mode & 0o077:
        logger.warning("Others than its owner may read or change %s, the file of the API keys", file)
    return parse_keys(file, None if file is None else read_keys(file), environment)


def read_keys(file: Path) -> str:
    """The text of the keys file. Raises ValueError where it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        # The error itself is not used, because an encoding error quotes the file.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"api.keys_file {file} cannot be read: {reason}") from None


def parse_keys(
    file: Path | None, text: str | None, environment: Mapping[str, str] = os.environ
) -> KeyRing | None:
    """The keys in `text`, the content of `file`, and of the environment; None where there is neither.

    Raises ValueError like `load_keys`.
    """
    sources = {} if text is None else {f"api.keys_file {file}": text}
    if KEYS_VARIABLE in environment:
        sources[KEYS_VARIABLE] = environment[KEYS_VARIABLE]
    if not sources:
        return None
    return KeyRing(key for name, text in sources.items() for key in _parse(name, text))


_KEYS = TypeAdapter(tuple[ApiKey, ...])


def _parse(source: str, text: str) -> tuple[ApiKey, ...]:
    try:
        keys = _KEYS.validate_python(yaml.safe_load(text))
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'everything'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ValueError(f"{source} should be a list of {{name, sha256}}: {where}") from None
    except (yaml.YAMLError, RecursionError, ValueError):  # ValueError: an impossible date
        raise ValueError(f"{source} is not YAML") from None
    if not keys:
        raise ValueError(f"{source} holds no API key: nobody could use the server")
    return keys
