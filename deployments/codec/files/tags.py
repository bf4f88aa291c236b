"""The tags of audio files, which say that a song was generated. Equal marks make equal tags.

Each format has them in its own way: ID3 in mp3, Vorbis comments in flac, ogg and opus, atoms in MP4, and the
INFO list in wav. FFmpeg writes comments and atoms. The rest is here, because libsndfile knows only a few
names, and neither library writes XMP. Where a format has a place for XMP, IPTC's properties are there, too:
that is where programs look for Digital Source Type.
"""

import struct
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from deployments.common.marks import Marks, generator, generator_version

KINDS = {
    "mp3": ("ID3", "XMP"),
    "wav": ("INFO", "XMP"),
    "flac": ("Vorbis comments",),
    "opus": ("Vorbis comments",),
    "ogg": ("Vorbis comments",),
    "wav32": ("INFO", "XMP"),
    "aac": ("MP4 atoms", "XMP"),
}
"""The kinds of tags in a file of each of `audio_formats.FORMATS`."""

_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The UUID of the box with XMP in an MP4 file (XMP Specification, Part 3)."""
_UTF_8 = b"\x03"
"""The encoding of a text in ID3v2.4."""

_PADDING = bytes(16)
"""Empty space at the end of an ID3 tag. ExifTool looks for another frame there before it trusts a length."""


@dataclass(frozen=True)
class Tags:
    """The texts for the tags of one song. None of them has a character that XML or UTF-8 cannot write."""

    generator: str
    statement: str
    """A sentence that says that the song was generated, for the place of comments."""
    facts: dict[str, str]
    """Further texts, by name."""
    xmp: bytes
    """All of it as an XMP packet."""

    @property
    def comment(self) -> str:
        """The statement and all facts, for formats that have no names of one's own."""
        return "\n".join([self.statement, *(f"{name}={text}" for name, text in self.facts.items())])


def tags_of(marks: Marks) -> Tags:
    """The tags that tell the marks of a song."""
    return Tags(generator(), marks.statement, marks.facts, _xmp(marks))


def _xmp(marks: Marks) -> bytes:
    """An XMP packet with the properties of the IPTC Photo Metadata Standard 2025.1 for generated media."""
    properties = {
        "xmp:CreatorTool": generator(),
        "Iptc4xmpExt:DigitalSourceType": marks.source_type_uri,
        "Iptc4xmpExt:AISystemUsed": ", ".join(filter(None, (marks.dit_model, marks.lm_model))),
        "Iptc4xmpExt:AISystemVersionUsed": generator_version(),
    }
    if prompt := marks.facts.get("PROMPT"):
        properties["Iptc4xmpExt:AIPromptInformation"] = prompt
    attributes = " ".join(f"{name}={quoteattr(text)}" for name, text in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {attributes}/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def vorbis_comments(tags: Tags) -> dict[str, str]:
    """The tags by name, as FFmpeg takes them for flac and ogg. It writes `comment` as DESCRIPTION."""
    return {"comment": tags.statement, **tags.facts}


def mp4_atoms(tags: Tags) -> dict[str, str]:
    """The tags by the names that FFmpeg has for the atoms of an MP4 file: ©too and ©cmt."""
    return {"encoding_tool": tags.generator, "comment": tags.comment}


def id3(tags: Tags) -> bytes:
    """An ID3v2.4 tag, which stands before the sound of an mp3 file."""
    frames = [
        _frame(b"TSSE", _UTF_8 + tags.generator.encode()),
        _frame(b"COMM", _UTF_8 + b"eng" + b"\0" + tags.statement.encode()),
        *(
            _frame(b"TXXX", _UTF_8 + name.encode() + b"\0" + text.encode())
            for name, text in tags.facts.items()
        ),
        _frame(b"PRIV", b"XMP\0" + tags.xmp),
    ]
    content = b"".join(frames) + _PADDING
    return b"ID3\x04\x00\x00" + _seven_bits_a_byte(len(content)) + content


def _frame(name: bytes, content: bytes) -> bytes:
    return name + _seven_bits_a_byte(len(content)) + bytes(2) + content


def _seven_bits_a_byte(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def riff_chunks(tags: Tags) -> bytes:
    """The chunks with INFO and XMP that stand behind the samples of a wav file."""
    texts = {b"ICMT": tags.comment, b"ISFT": tags.generator}
    items = b"".join(_chunk(name, text.encode() + b"\0") for name, text in texts.items())
    return _chunk(b"LIST", b"INFO" + items) + _chunk(b"_PMX", tags.xmp)


def _chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a RIFF file, with the byte that makes its length even."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def xmp_box(tags: Tags) -> bytes:
    """The box with XMP that stands at the end of an MP4 file."""
    return struct.pack(">I4s16s", 24 + len(tags.xmp), b"uuid", _XMP_BOX) + tags.xmp
