"""Threads for handlers: as many as are needed at once, kept for the next ones.

They are daemons: a handler that never ends must not keep the program from ending.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_KEEP_SECONDS = 30.0


class Threads:
    """Runs functions, each in a thread of its own while it runs."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._made = 0

    def run(self, function: Callable[[], object]) -> None:
        """Runs it, soon."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
                is_new = False
            else:
                self._made += 1
                is_new = True
            name = f"lessor-handler-{self._made}"
        self._work.put(function)
        if is_new:
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                function = self._work.get(timeout=_KEEP_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle == 0:
                        # Something was put for this thread just now.
                        continue
                    self._idle -= 1
                return
            function()
            # Or the last job would be kept while there is no other.
            del function
            with self._lock:
                self._idle += 1
