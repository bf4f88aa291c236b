"""Bad values become the nearest that the job API takes, or the default, with a note for the user.

Clients of the ACE-Step API expect a server that takes nearly everything. A value of another JSON type than
its field's (an object as a prompt) is left as it is, and the job API refuses it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from configs.domain import LANGUAGES, TIME_SIGNATURES
from serve_app.request.fields import MAX_SEED, RANDOM_SEED, Timesteps, flag_of

_NUMBER = re.compile(r"[+-]?([0-9]{1,400}+(\.[0-9]{0,400}+)?+|\.[0-9]{1,400}+)([eE][+-]?[0-9]{1,5})?")
_METRE = re.compile(r"([1-9][0-9]?)(?:\.0{1,10})?(/[1-9][0-9]?)?")
NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that no text has: NUL and halves of surrogate pairs, which UTF-8 cannot write."""
_BREAKS_A_KEY = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]|<\\|")
_SCHEDULE: TypeAdapter[tuple[float, ...]] = TypeAdapter(Timesteps)
MAX_KEY_LENGTH = 32
SHOWN_CHARACTERS = 40
"""Characters of a value that a note repeats."""
MAX_NOTES = 64
"""Notes of a request. Each field has at most a few, so only a hostile request has more."""
MAX_NAMES = 64
"""Names in a list that are read, as many as the job API takes."""


@dataclass(frozen=True)
class Bounds:
    """The range of a number, from the schema of the job API with this server's limits."""

    whole: bool
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "Bounds | None":
        """The bounds in a field's JSON schema; None where the field is no number."""
        for option in schema.get("anyOf", [schema]):
            if option.get("type") in {"integer", "number"}:
                return cls(option["type"] == "integer", option.get("minimum"), option.get("maximum"))
        return None


@dataclass
class Leniency:
    """Changes values into ones that the job API takes. None stands for "not given"."""

    notes: list[str] = field(default_factory=list)
    """One sentence for each change, of the first `MAX_NOTES`."""

    def note(self, text: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def number(self, name: str, value: Any, bounds: Bounds) -> Any:
        """The nearest number within the bounds; None for a text that is no number."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return value
        number = number_in(value)
        if number is None:
            return self._default(name, value)
        if bounds.low is not None and number < bounds.low:
            return self._moved(name, value, bounds.low, bounds)
        if bounds.high is not None and number > bounds.high:
            return self._moved(name, value, bounds.high, bounds)
        if math.isinf(number):
            return self._default(name, value)
        if bounds.whole and number != int(number):
            return self._moved(name, value, math.floor(number + 0.5), bounds)
        return int(number) if bounds.whole else number

    def positive(self, name: str, value: Any, bounds: Bounds) -> Any:
        """The same; zero and below mean "not given"."""
        number = None if isinstance(value, bool) else number_in(value)
        if number is not None and number <= 0:
            return None
        return self.number(name, value, bounds)

    def share(self, name: str, value: Any) -> Any:
        """A share of the whole; 1 for numbers that are no share."""
        number = None if isinstance(value, bool) else number_in(value)
        return 1.0 if number is not None and not 0 < number < 1 else self.number(name, value, Bounds(False))

    def flag(self, name: str, value: Any) -> Any:
        """A flag; None where a text or number is none."""
        if isinstance(value, dict | list):
            return value
        known = flag_of(value)
        return self._default(name, value) if known is None else known

    def timesteps(self, value: Any, most: int) -> Any:
        """A schedule of at most `most` timesteps; None where it is not one."""
        try:
            steps = _SCHEDULE.validate_python(value)
        except ValidationError:
            return self._default("timesteps", value) if isinstance(value, str | list) else value
        return steps if len(steps) <= most else self._default("timesteps", value)

    def choice(self, name: str, value: Any, choices: tuple[str, ...]) -> Any:
        """One of the choices, in any case and after any folders; None for other texts."""
        if not isinstance(value, str):
            return value
        wanted = value.strip().rpartition("/")[2]
        for choice in choices:
            if choice.lower() == wanted.lower():
                return choice
        return self._default(name, value)

    def language(self, value: Any) -> Any:
        """A language's code; `unknown` for other texts."""
        if not isinstance(value, str):
            return value
        code = re.split("[-_]", value.strip(), maxsplit=1)[0].lower()
        if code in LANGUAGES:
            return code
        self.note(f"vocal_language {_shown(value)} is no language that the models know: it is unknown.")
        return "unknown"

    def key(self, value: Any) -> Any:
        """A key; None where the models could not read it."""
        if not isinstance(value, str):
            return value
        text = value.strip()
        if len(text) > MAX_KEY_LENGTH or _BREAKS_A_KEY.search(text) or NO_TEXT.search(text):
            return self._default("key_scale", value)
        return text

    def metre(self, value: Any) -> Any:
        """A time signature `n/d`. A lone n that the job API does not know becomes `n/4`."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return value
        match = _METRE.fullmatch(str(value).strip())
        if match is None:
            return self._default("time_signature", value)
        beats, unit = match.groups()
        return beats + (unit or ("" if beats in TIME_SIGNATURES else "/4"))

    def text(self, name: str, value: Any, most: int) -> Any:
        """A text without characters that no model reads, cut to `most` characters."""
        if not isinstance(value, str):
            return value
        text = NO_TEXT.sub("", value)
        if text != value:
            self.note(f"{name} held characters that are no text: they were left out.")
        if len(text) > most:
            self.note(f"{name} was cut to {most:,} characters.")
        return text[:most]

    def known_names(self, name: str, value: Any, known: tuple[str, ...]) -> Any:
        """The names that are known, as a list. Of a longer list only the first `MAX_NAMES` are read."""
        names = re.split("[,|]", value, maxsplit=MAX_NAMES) if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            return value
        if len(names) > MAX_NAMES:
            names = names[:MAX_NAMES]
            self.note(f"{name} has more than {MAX_NAMES} entries: the others were left out.")
        words = [(one, re.sub(r"[\s-]+", "_", one.strip().lower())) for one in names]
        for sent, word in words:
            if word and word not in known:
                self.note(f"{name} {_shown(sent)} is none of {', '.join(known)}: it was left out.")
        return [word for _, word in words if word in known]

    def seeds(self, name: str, value: Any, songs: int) -> Any:
        """Seeds as the job API takes them: one, or one for each of `songs`; -1 is random."""
        if isinstance(value, str):
            entries: Any = value.rstrip(", ").split(",")
        else:
            entries = value if isinstance(value, list) else [value]
        if any(isinstance(entry, bool) or not isinstance(entry, int | float | str) for entry in entries):
            return value
        seeds = [self._seed(name, entry) for entry in entries[: max(songs, 1)]]
        if len(entries) > 1 and len(entries) != songs:
            fate = "the others were left out" if len(entries) > songs else "the others are random"
            self.note(f"{name} has {len(entries)} entries for {songs} songs: {fate}.")
            seeds += [RANDOM_SEED] * (songs - len(seeds))
        return ",".join(map(str, seeds))

    def codes(self, value: Any, songs: int) -> Any:
        """Audio codes of at most `songs` songs."""
        if not isinstance(value, list) or len(value) <= max(songs, 1):
            return value
        self.note(f"audio_code_string has {len(value)} entries for {songs} songs: the others were left out.")
        return value[: max(songs, 1)]

    def _seed(self, name: str, entry: int | float | str) -> int:
        number = number_in(entry)
        if number is None or math.isinf(number):
            if str(entry).strip():
                self.note(f"{name} {_shown(entry)} was not readable: it is random.")
            return RANDOM_SEED
        seed = _exact(entry) if number == int(number) else int(number)
        if seed < 0:
            return RANDOM_SEED
        used = seed % (MAX_SEED + 1)
        if used != number:
            self.note(f"{name} {_shown(entry)} became {used}.")
        return used

    def _moved(self, name: str, value: Any, number: float, bounds: Bounds) -> float:
        used = int(number) if bounds.whole else number
        self.note(f"{name} {_shown(value)} became {used:g}.")
        return used

    def _default(self, name: str, value: Any) -> None:
        self.note(f"{name} {_shown(value)} was not usable: the default was used.")


def number_in(value: Any) -> float | None:
    """The number that a value is or writes, infinite where it is too large; None where there is none."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _exact(whole: int | float | str) -> int:
    """A whole number without the rounding of large floats."""
    if isinstance(whole, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,400}\s*", whole):
        return int(whole)
    return whole if isinstance(whole, int) else int(float(whole))


def _shown(value: Any) -> str:
    text = NO_TEXT.sub("", str(value) if not isinstance(value, int) or abs(value) < 2**64 else "…")
    text = " ".join(text.split())
    return f"'{text[:SHOWN_CHARACTERS]}…'" if len(text) > SHOWN_CHARACTERS else f"'{text}'"
