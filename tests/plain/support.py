"""What the tests share beside the calls: brokers, workers, and a way to a broker that breaks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from problem import Deadline
from processes import Child

from worker import Worker

ROOT = Path(__file__).parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
BINARY = os.environ.get("LESSOR_BIN") or str(TARGET / "debug" / "lessor")
PATIENCE = 20


def saying(child: Child, pattern: str) -> str:
    """Waits for a line that matches; its first group."""
    return child.wait_for_line(pattern, Deadline(PATIENCE))[1]


class Broker:
    """The real binary."""

    def __init__(self, folder: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        self.folder = folder
        self.options = options
        self.address = listen
        self.process: Child | None = None

    def start(self) -> None:
        """Starts it, again at the same address."""
        command = [BINARY, "serve", "--listen", self.address, *self.options]
        self.process = Child("broker", command, self.folder, {})
        self.address = saying(self.process, r"serving on ([^\s,]+)")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.stop()


@contextmanager
def working(*workers: Worker) -> Iterator[None]:
    """Runs workers, each in a thread of its own."""
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextmanager
def program(folder: Path, name: str, *arguments: str, **settings: str) -> Iterator[Child]:
    """A function of programs.py as a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("programs.py")), name, *arguments]
    child = Child(name, command, folder, settings)
    try:
        yield child
    finally:
        # It may be stopped, and deaf to anything else.
        child.kill()


def eventually(holds: Callable[[], bool]) -> None:
    """Waits for what no event tells."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        pause.wait(0.02)


class Relay:
    """Passes on what comes, until it loses what the broker says, or breaks its connections."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._lost = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Nothing comes back on the connections that there are."""
        self._lost.set()

    def cut(self) -> None:
        """Breaks all connections; new ones work."""
        self._lost = threading.Event()
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                never = threading.Event()
                for ends in ((near, far, never), (far, near, self._lost)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, is_lost: threading.Event) -> None:
    # One end may be gone before the other.
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if not is_lost.is_set():
                sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for localhost, and its key."""
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths
