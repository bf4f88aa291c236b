"""Texts that are too long for the context of the language model are cut until they fit."""

from collections.abc import Awaitable, Callable

from serve_app.request.schemas import GenerateRequest

CUT_FIELDS = ("lyrics", "caption", "lm_negative_prompt")
"""The texts that are cut, in this order: the next one only where the one before it is gone."""
ROUNDS = 8
"""The kept part is found by halving, up to 1/256 of the text."""

Fits = Callable[[GenerateRequest], Awaitable[bool]]
"""Tells whether the context holds a request's texts."""


async def shortened(request: GenerateRequest, fits: Fits) -> tuple[GenerateRequest, tuple[str, ...]]:
    """The request with texts that fit, and one sentence for each that was cut."""
    notes = []
    for field in CUT_FIELDS:
        text: str = getattr(request, field)
        if not text or await fits(request):
            continue
        kept, lost = 0, len(text)
        if await fits(request.model_copy(update={field: ""})):
            for _ in range(ROUNDS):
                middle = (kept + lost) // 2
                is_short = await fits(request.model_copy(update={field: text[:middle]}))
                kept, lost = (middle, lost) if is_short else (kept, middle)
        request = request.model_copy(update={field: text[:kept]})
        name = "prompt" if field == "caption" else field
        notes.append(f"{name} was cut to {kept:,} characters, which the language model's context holds.")
    return request, tuple(notes)
