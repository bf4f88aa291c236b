"""What the LM's engines tell about their work, as they do it."""

from typing import Any


class EngineObserver:
    """Any thread may call it. This one does nothing."""

    def began(self, guided: bool) -> None:
        """A run of the LM begins."""

    def wrote(self, tokens: int) -> None:
        """A run has got new tokens; those of a guided one are its two halves' together."""

    def stepped(self, rows: int, row_slots: int) -> None:
        """A batch of rows has got a token each; there was room for `row_slots`."""

    def vllm_stat_loggers(self) -> list[Any]:
        """Whom vLLM tells its own statistics: factories of its StatLoggerBase. For [] it collects none."""
        return []
