"""C2PA manifests: signed statements inside a file that tell how it was made, and which other bytes are in it.

A manifest names the generator, the models, the seed and IPTC's digital source type. Its signature covers a
hash of the rest of the file, so that a reader notices every later change. A manifest has random ids and a
signature that is different each time: of two equal requests the samples and tags are equal, the manifests are
not.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from configs.domain import AUDIO_CHANNELS
from deployments.codec.files.writing import write
from deployments.common.marks import GENERATOR, Marks, generator_version

_Result = TypeVar("_Result")

KIND = "C2PA"
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "wav32": "audio/wav",
    "aac": "audio/mp4",
}
"""The formats that can carry a manifest, with the names that C2PA has for them. It has none for Ogg."""


class SigningError(ValueError):
    """The certificate or its key cannot be used. The text is one sentence for the operator."""


@dataclass(frozen=True)
class Signing:
    """A certificate with its private key."""

    certificates: bytes
    """The certificate and those of its issuers, in PEM."""
    key: bytes
    """In PEM, without a password."""
    algorithm: str
    """The name of the signature algorithm in C2PA."""

    @classmethod
    def of(cls, certificate: Path, key: Path) -> "Signing":
        """The certificate and the key in two files, after a first signature. Raises SigningError."""
        try:
            import c2pa
        except ImportError as error:
            raise SigningError(
                "provenance.certificate needs the package c2pa-python: install the extra `signing`"
            ) from error
        certificates, private_key = _content(certificate), _content(key)
        signing = cls(certificates, private_key, _algorithm(private_key, key))
        try:
            signing.sign(_any_song(), "wav", Marks("none", None, 0), BytesIO())
        except c2pa.C2paError as error:
            raise SigningError(f"{certificate} with {key} cannot sign: {error}") from error
        return signing

    def sign(self, plain: BinaryIO, audio_format: str, marks: Marks, signed: BinaryIO) -> None:
        """Write the file `plain`, of one of the formats in MEDIA_TYPES, to `signed` with a manifest.

        Both must be readable and seekable. Raises what they raise, and C2paError.
        """
        import c2pa

        plain.seek(0)
        info = c2pa.C2paSignerInfo(self.algorithm, self.certificates, self.key, None)
        with (
            _kept_failure(plain) as source,
            _kept_failure(signed) as target,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(json.dumps(_manifest(marks))) as builder,
        ):
            builder.sign(signer, MEDIA_TYPES[audio_format], source, target)


def _manifest(marks: Marks) -> dict[str, Any]:
    """The definition of a manifest. Times are left out: a song may be made again at any time."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": marks.source_type_uri,
        "softwareAgent": {"name": GENERATOR, "version": generator_version()},
        "description": marks.statement,
    }
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": generator_version()}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": "acestep.generation", "data": marks.facts},
        ],
    }


def _any_song() -> BytesIO:
    """A wav file to try a certificate on."""
    file = BytesIO()
    write(np.zeros((AUDIO_CHANNELS, 1), np.float32), "wav", file)
    return file


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error


def _algorithm(key: bytes, path: Path) -> str:
    """The algorithm for a private key in PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
    except (TypeError, ValueError) as error:
        raise SigningError(f"{path} is no private key in PEM without a password") from error
    match private:
        case ec.EllipticCurvePrivateKey():
            return {256: "es256", 384: "es384", 521: "es512"}.get(private.curve.key_size, "es256")
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
    raise SigningError(f"{path} has a key of a kind that C2PA does not know")


class _KeptFailure:
    """A file for a library that replaces exceptions by its own. The first exception is kept.

    After it, every call raises it again.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: Exception | None = None

    def read(self, size: int) -> bytes:
        return self._call(self._file.read, size)

    def write(self, data: bytes) -> int:
        return self._call(self._file.write, data)

    def seek(self, offset: int, whence: int) -> int:
        return self._call(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._call(self._file.tell)

    def flush(self) -> None:
        self._call(self._file.flush)

    def _call(self, method: Callable[..., _Result], *arguments: object) -> _Result:
        if self.failure is not None:
            raise self.failure
        try:
            return method(*arguments)
        except Exception as error:
            self.failure = error
            raise


@contextmanager
def _kept_failure(file: BinaryIO) -> Iterator[_KeptFailure]:
    """Wrap `file`; if it fails, its own exception leaves the block."""
    kept = _KeptFailure(file)
    try:
        yield kept
    finally:
        if kept.failure is not None:
            raise kept.failure
