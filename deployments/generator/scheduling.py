"""Decides which songs step next, and in how many forwards side by side."""

import logging
from dataclasses import dataclass

from deployments.common.processor_share import Share
from deployments.generator.engine import Song
from deployments.generator.forward import CACHED_CONDITION_TOKENS
from deployments.generator.step_queue import QueuedSong, StepQueue

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class StepBatch:
    """The songs of one forward."""

    queued: list[QueuedSong]
    token_slots: int
    """Tokens that the forward has room for."""
    forwards: int
    """Forwards that share `tokens_per_forward`, this one included."""

    @property
    def songs(self) -> list[Song]:
        return [queued.song for queued in self.queued]


class StepScheduler:
    """Divides the queue into batches of at most `tokens_per_forward` tokens.

    The keys and values of a batch's texts are stored once more beside the cache that they come from, so they
    are limited, too, to as many as the cache holds.

    With at least as many songs as the engine has cores, each core gets a forward of its own with its part of
    the tokens: in one forward on all cores each operation waits for the slowest core. With fewer songs one
    forward computes on all cores.

    The scheduler and its queue belong to the event loop; an engine's threads never use them.
    """

    def __init__(self, queue: StepQueue, tokens_per_forward: int, share: Share) -> None:
        self._queue = queue
        self._tokens_per_forward = tokens_per_forward
        self._share = share

    @property
    def in_lockstep(self) -> bool:
        """Whether the forwards must begin together, because all songs belong to one job.

        Its songs are then batched in the same way each time, so that the same seeds give the same bits.
        """
        return self._queue.has_one_job

    @property
    def is_full(self) -> bool:
        """Whether the songs in the queue fill a forward."""
        return self._queue.tokens >= self._tokens_per_forward

    def forwards_at_once(self) -> int:
        """One forward for each core, or one on all cores."""
        cores, queue = self._share.cores, self._queue
        if len(queue) < cores:
            return 1
        if self.in_lockstep:  # no forward may be longer than the others, which would have to wait for it
            fits = queue.largest <= min(self._tokens_per_forward, queue.tokens // cores)
        else:
            fits = queue.largest_due <= self._tokens_per_forward
        return cores if fits else 1

    def next_batch(self) -> StepBatch | None:
        """The songs of the next forward; None if no song is waiting."""
        forwards = self.forwards_at_once()
        # Where all songs step side by side, nobody waits longer because another one goes first.
        all_fit = forwards > 1 and self._queue.tokens <= self._tokens_per_forward
        room = min(self._tokens_per_forward, self._queue.tokens) // forwards
        text_room = CACHED_CONDITION_TOKENS // forwards
        queued = self._queue.take(room, text_room, prefers_neighbours=all_fit)
        return StepBatch(queued, self._tokens_per_forward // forwards, forwards) if queued else None

    def lower_limit(self, tokens: int, forwards: int) -> None:
        """Halve the room after a forward of `tokens` that ran as one of `forwards` ran out of memory."""
        failed = tokens * forwards
        self._tokens_per_forward = min(self._tokens_per_forward, failed // 2)
        logger.warning(
            "a forward of %d tokens did not fit into memory; from now on they have %d (tokens_per_forward)",
            failed,
            self._tokens_per_forward,
        )
