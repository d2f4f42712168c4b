"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator

from lessor.errors import LessorError

_FIRST, _FACTOR, _LONGEST = 0.1, 4.0, 2.0
_STREAM_FIRST, _STREAM_LONGEST = 0.25, 20.0


def between_tries() -> Iterator[float]:
    """Before the second, third and fourth try of a call; each up to twice as long, at random."""
    for n in range(3):
        pause = _FIRST * _FACTOR**n
        yield min(random.uniform(pause, 2 * pause), _LONGEST)


def between_streams() -> Iterator[float]:
    """Before a broken stream is opened again. Full jitter, so that the clients of a broker that
    restarts do not all come at once.
    """
    bound = _STREAM_FIRST
    while True:
        yield random.uniform(0, bound)
        bound = min(2 * bound, _STREAM_LONGEST)


def no_sooner(pause: float, error: LessorError) -> float:
    """The pause, or what the broker asked for if that is longer."""
    asked = error.retry_after
    return max(pause, asked.total_seconds()) if asked else pause
