"""What ends the demo with a message instead of a traceback, and the time it has."""

from __future__ import annotations

import time


class Problem(Exception):
    """Something the reader must know; `exit_code` is what the process ends with."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Deadline:
    """One bound for the whole run: whoever waits asks it how long it may."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, waiting_for: str) -> float:
        """Seconds left; past the end, a `Problem` that says what was waited for."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Problem(f"not done within {self.seconds:g} s: still waiting for {waiting_for}")
        return left
