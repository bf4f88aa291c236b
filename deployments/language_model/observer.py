"""The interface through which the LM's engines report their work."""

from typing import Any


class EngineObserver:
    """Ignores all reports; subclasses use them. Any thread may call the methods."""

    def began(self, guided: bool) -> None:
        """Called when a run of the LM begins."""

    def wrote(self, tokens: int) -> None:
        """Called when a run has new tokens. A token that both rows of a guided run get counts once."""

    def stepped(self, rows: int, row_slots: int) -> None:
        """Called when each of `rows` rows has got a token; the batch has room for `row_slots` rows."""

    def vllm_stat_loggers(self) -> list[Any]:
        """Factories of StatLoggerBase that receive vLLM's statistics. For [] vLLM collects none."""
        return []
