"""Incremental parser of multipart/form-data bodies: texts in memory, uploads in anonymous temporary files.

`python_multipart` finds the parts; this module enforces the limits on everything but the content of files.
"""

import codecs
import re
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

MAX_FIELDS = 256
MAX_FILES = 8
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 32 << 10
"""Bytes of one header line of a part. Only the file name, which is not used, makes it long."""
MEMORY_BYTES = 1 << 20
"""Size from which an upload is kept on disk."""

_CHARSETS = frozenset(
    {"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1251", "cp1252", "koi8-r", "gbk", "gb18030", "big5"}
    | {"shift_jis", "euc_jp", "euc_kr"}
)
"""Charsets that are decoded in linear time, unlike `punycode`, which Python accepts as a charset too."""
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*", re.IGNORECASE)


class MultipartError(Exception):
    """The body is malformed or has too many parts. The message is for the user."""


class TextTooLargeError(Exception):
    """The text and the part headers exceed the limit."""


class MultipartReader:
    """Parses one body. Its methods block briefly and must be called from one thread at a time."""

    def __init__(self, content_type: str, max_text_bytes: int) -> None:
        """`content_type` is the header of the request. Raises MultipartError."""
        _, options = parse_options_header(content_type)
        if b"boundary" not in options:
            raise MultipartError("The multipart body has no boundary: its Content-Type must say which")
        self._charset = _charset(options.get(b"charset", b"utf-8").decode("latin-1"))
        self._max_text_bytes = max_text_bytes
        self._received = 0
        self._file_bytes = 0
        self._complete = False
        self._part = _Part()
        self._texts: list[tuple[str, str]] = []
        self._files: list[tuple[str, BinaryIO]] = []
        self._opened: list[BinaryIO] = []
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                callbacks,  # type: ignore[arg-type]
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_PART_HEADER_BYTES,
            )
        except FormParserError as error:
            raise MultipartError("The multipart body's boundary is too long") from error

    def write(self, data: bytes) -> None:
        """Parse the next chunk of the body. Raises MultipartError or TextTooLargeError."""
        self._received += len(data)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MultipartError(_problem(error)) from error
        if self.text_bytes > self._max_text_bytes:
            raise TextTooLargeError

    @property
    def text_bytes(self) -> int:
        """Bytes so far without the content of files."""
        return self._received - self._file_bytes

    def finish(self) -> tuple[list[tuple[str, str]], dict[str, BinaryIO]]:
        """Texts in their order, and files by name. Raises MultipartError for a truncated body."""
        if not self._complete:
            raise MultipartError("The multipart body ends before its closing boundary")
        for _, file in self._files:
            file.seek(0)
        return self._texts, dict(self._files)

    def close(self) -> None:
        """Delete the files."""
        for file in self._opened:
            file.close()

    # Callbacks of the parser

    def _begin_part(self) -> None:
        self._part = _Part()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        if part.header_name.lower() == b"content-disposition":
            part.disposition = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._part.disposition)
        if b"name" not in options:
            raise MultipartError("A part of the multipart body has no name")
        self._part.name = self._decoded(options[b"name"])
        # RFC 7578 does not allow `filename*`, but some clients send only that for names that are not ASCII.
        extended = _EXTENDED_FILENAME.search(_QUOTED.sub(b'""', self._part.disposition))
        if b"filename" not in options and not extended:
            return
        if len(self._opened) == MAX_FILES:
            raise MultipartError(f"The multipart body has more than {MAX_FILES} files")
        file = cast(BinaryIO, SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115, closed by `close`
        self._opened.append(file)
        self._part.file = file
        self._part.named = bool(options.get(b"filename") or extended)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.file is None:
            part.text += data[start:end]
        else:
            part.file.write(data[start:end])
            part.named = True  # browsers send an empty part without a name where no file was chosen
            self._file_bytes += end - start

    def _end_part(self) -> None:
        part = self._part
        if part.file is None:
            if len(self._texts) == MAX_FIELDS:
                raise MultipartError(f"The multipart body has more than {MAX_FIELDS} fields")
            self._texts.append((part.name, self._decoded(bytes(part.text))))
        elif part.named:
            self._files.append((part.name, part.file))

    def _end(self) -> None:
        self._complete = True

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode(self._charset)
        except UnicodeDecodeError:
            return text.decode("latin-1")


class _Part:
    """One part, as received so far."""

    def __init__(self) -> None:
        self.header_name = bytearray()
        self.header_value = bytearray()
        self.disposition = b""
        self.name = ""
        self.text = bytearray()
        self.file: BinaryIO | None = None
        self.named = False


def _charset(named: str) -> str:
    try:
        found = codecs.lookup(named).name
    except (LookupError, ValueError):  # ValueError: the name contains NUL
        return "latin-1"
    if found not in _CHARSETS:
        raise MultipartError("The multipart body's charset is none that this server reads: use UTF-8")
    return found


def _problem(error: FormParserError) -> str:
    if "header size" in str(error):
        return (
            f"A part of the multipart body has a header of more than {MAX_PART_HEADER_BYTES:,} bytes: "
            "its file name must be shorter"
        )
    return "The multipart body is malformed"
