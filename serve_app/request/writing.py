"""Songs that the LM writes or rewrites: the questions to it, its answers, and what replaces them."""

import re

from configs.domain import INSTRUMENTAL
from deployments.common.messages import Inspiration
from serve_app.request.schemas import GenerateRequest
from serve_app.request.song_plan import SongWords

MAX_DESCRIPTION_TOKENS = 2048
"""Tokens of the longest description: metadata, caption, and the lyrics of a long song."""
MIN_DESCRIPTION_TOKENS = 256
"""Tokens of a description with a short caption and without lyrics."""
UNSUNG_TOKENS = 512
"""Tokens of a description without lyrics."""
PROMPT_OVERHEAD_TOKENS = 512
"""Upper bound for the tokens of the LM's instruction, template and metadata."""

SAMPLE_NOTE = "The language model could not write a song: it was made from the query, without lyrics."
FORMAT_NOTE = "The language model could not rewrite caption and lyrics: they were used as they are."
EXAMPLE_CAPTIONS = (
    "A calm piano ballad with soft strings and a wide, warm hall",
    "Driving indie rock with bright guitars, steady drums and a singing bass",
    "Slow lo-fi beat with a dusty electric piano and vinyl noise",
    "Upbeat funk with a slapped bass, tight drums and a brass section",
    "Quiet acoustic folk with a fingerpicked guitar and a flute",
    "Wide ambient pads over a deep, slow pulse",
    "Energetic techno with a rolling bass line and crisp hi-hats",
    "Cheerful bossa nova with a nylon guitar and brushed drums",
)
"""Captions for songs whose query is empty, where no LM writes one."""

_INSTRUMENTAL = re.compile(r"\b(instrumental|pure music)\b|\bsolo\s*[.!]?\s*$", re.IGNORECASE)
# fmt: off
LANGUAGE_NAMES = {
    "arabic": "ar", "azerbaijani": "az", "bengali": "bn", "bulgarian": "bg", "cantonese": "yue",
    "catalan": "ca", "chinese": "zh", "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl",
    "english": "en", "finnish": "fi", "french": "fr", "german": "de", "greek": "el", "haitian": "ht",
    "hebrew": "he", "hindi": "hi", "hungarian": "hu", "icelandic": "is", "indonesian": "id",
    "italian": "it", "japanese": "ja", "korean": "ko", "latin": "la", "lithuanian": "lt", "malay": "ms",
    "mandarin": "zh", "nepali": "ne", "norwegian": "no", "persian": "fa", "polish": "pl",
    "portuguese": "pt", "punjabi": "pa", "romanian": "ro", "russian": "ru", "sanskrit": "sa",
    "serbian": "sr", "slovak": "sk", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta",
    "telugu": "te", "thai": "th", "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}
# fmt: on
"""English names of languages that a query may name. `latin` counts only in `in Latin`."""
_NAMED_LANGUAGE = re.compile(rf"\b({'|'.join(LANGUAGE_NAMES)})\b", re.IGNORECASE)


def wants_sample(request: GenerateRequest) -> bool:
    """Whether the LM shall write the song."""
    return request.sample_mode or bool(request.sample_query.strip())


def rewritable(caption: str, lyrics: str) -> bool:
    """Whether there is a caption, or lyrics that are sung, for the LM to rewrite."""
    return bool(caption.strip()) or not is_instrumental(lyrics)


def is_instrumental(lyrics: str) -> bool:
    """Whether the lyrics say that nothing is sung."""
    return lyrics.strip().lower() in {"", "[inst]", INSTRUMENTAL.lower()}


def named_language(query: str) -> str | None:
    """The code of the first language that a query names in English; None where it names none."""
    for match in _NAMED_LANGUAGE.finditer(query):
        name = match[1].lower()
        # "Latin" is nearly always a style: Latin pop, Latin jazz.
        if name != "latin" or query[: match.start()].lower().endswith("in "):
            return LANGUAGE_NAMES[name]
    return None


def inspiration(request: GenerateRequest) -> Inspiration:
    """The query, and whether it asks for instrumental music: in words, or by lyrics that say so."""
    says_so = bool(request.lyrics.strip()) and is_instrumental(request.lyrics)
    query = request.sample_query
    return Inspiration(query, instrumental=says_so or bool(_INSTRUMENTAL.search(query)))


def bound_language(request: GenerateRequest) -> str | None:
    """The language of a sample's lyrics, by the request's field or else by its query; None is any."""
    if request.vocal_language not in ("en", "unknown"):
        return request.vocal_language
    return named_language(request.sample_query)


def fallback_sample(request: GenerateRequest, seed: int) -> SongWords:
    """The words of a sample that the LM cannot write: the query or an example, instrumental."""
    query = request.sample_query.strip()
    caption = query or EXAMPLE_CAPTIONS[seed % len(EXAMPLE_CAPTIONS)]
    return SongWords(caption, INSTRUMENTAL, bound_language(request) or request.vocal_language)


def description_tokens(max_model_len: int, max_code_count: int) -> int:
    """Tokens that a description may take, so that the codes of the longest song still fit beside it."""
    room = max_model_len - max_code_count - PROMPT_OVERHEAD_TOKENS
    return max(MIN_DESCRIPTION_TOKENS, min(MAX_DESCRIPTION_TOKENS, room))
