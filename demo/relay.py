"""A way to the broker that can lose its connections as a network does: without a word."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """Passes on what comes, in both directions of each connection."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._lost = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_connections(self) -> None:
        """They stay open, but nothing comes through any more. Later ones are as good as new."""
        self._lost.set()
        self._lost = threading.Event()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            for ends in ((near, far), (far, near)):
                pump = threading.Thread(target=pass_on, args=(*ends, self._lost), daemon=True)
                pump.start()


def pass_on(source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
    # One end may be gone before the other.
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if not lost.is_set():
                sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
