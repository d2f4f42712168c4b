"""The processes of a run: started here, watched here, and none left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from problem import Deadline, Problem

HERE = Path(__file__).resolve().parent
GRACE_SECONDS = 10
REDIS_STARTS = 5
LANGUAGES = ("rust", "python", "node")


class Child:
    """A process whose output goes to a log, and whose lines can be waited for."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, settings: dict[str, str]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.killed = False
        # A backtrace would push the last words out of the log's tail.
        own = ("LESSOR_", "DEMO_", "RUST_BACKTRACE")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        # Appending: two write to it, and a process of the same name may have written before.
        with self.log.open("ab") as errors:
            # In a session of its own, Ctrl-C reaches only the demo, which then ends it in order.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=inherited | settings,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout, self.log.open("ab") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_line(self, pattern: str, deadline: Deadline) -> re.Match[str]:
        """The first line that matches; a `Problem` when the process ends without it."""
        with self._changed:
            while True:
                matches = (re.search(pattern, line) for line in self._lines)
                if match := next(filter(None, matches), None):
                    return match
                if self._ended:
                    raise Problem(f"{self.name} ended too early\n{self.tail()}")
                self._changed.wait(deadline.left(f"{self.name} to say {pattern!r}"))

    def check(self) -> None:
        if self.process.poll() is not None:
            code = self.process.returncode
            raise Problem(f"{self.name} ended by itself with exit code {code}\n{self.tail()}")

    def kill(self) -> None:
        self.killed = True
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks it to end, insists after a while; its exit code, negative for a signal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(GRACE_SECONDS)
        return self.process.returncode

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Processes:
    """Every process of a run, and the folder of their logs and data."""

    def __init__(self, folder: Path, binaries: Path, deadline: Deadline) -> None:
        self.folder = folder
        self.binaries = binaries
        self.deadline = deadline
        self.children: list[Child] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what still runs, the last started first: workers before broker before store."""
        with uninterrupted():
            for child in reversed(self.children):
                child.stop()

    def start(self, name: str, command: Sequence[str], settings: dict[str, str]) -> Child:
        if shutil.which(command[0]) is None:
            raise Problem(f"{command[0]} is not there; `make demo` builds what it needs")
        child = Child(name, command, self.folder, settings)
        self.children.append(child)
        return child

    def start_redis(self) -> str:
        """A Redis server of this run's own; the URL of it."""
        if shutil.which("redis-server") is None:
            raise Problem("redis-server is not installed: run scripts/install-redis.sh")
        data = self.folder / "redis"
        data.mkdir()
        for attempt in range(1, REDIS_STARTS + 1):
            # Somebody else may take the port between the look and the start: then try another.
            port = free_port()
            options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "yes"}
            command = ["redis-server"]
            for key, value in (options | {"dir": data}).items():
                command += [f"--{key}", str(value)]
            redis = self.start(f"redis-{attempt}", command, {})
            try:
                redis.wait_for_line("Ready to accept connections", self.deadline)
            except Problem:
                if attempt == REDIS_STARTS:
                    raise
            else:
                return f"redis://127.0.0.1:{port}/"
        raise AssertionError("the last attempt either returns or raises")

    def start_broker(self, store: str, listen: str = "127.0.0.1:0") -> tuple[Child, str]:
        """The broker, on a free port unless told otherwise; the address it says."""
        command = [str(self.binaries / "lessor"), "serve", "--listen", listen, "--store", store]
        broker = self.start("broker", command, {})
        return broker, broker.wait_for_line(r"serving on ([^\s,]+)", self.deadline)[1]

    def start_worker(self, language: str, settings: dict[str, str]) -> Child:
        """A worker that has reached the broker and asks it for jobs."""
        commands = {
            "rust": [str(self.binaries / "lessor-demo-worker")],
            "python": [sys.executable, str(HERE / "worker-python" / "worker.py")],
            "node": ["node", str(HERE / "worker-node" / "worker.js")],
        }
        worker = self.start(language, commands[language], settings)
        worker.wait_for_line("^ready", self.deadline)
        return worker


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds off Ctrl-C and SIGTERM: an impatient second one must not leave processes behind."""
    held_off = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in held_off]
    try:
        yield
    finally:
        for number, handler in zip(held_off, before, strict=True):
            signal.signal(number, handler)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
