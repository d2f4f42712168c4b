"""Programs whose lines can be waited for: the broker, the API, the workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent.parent
LESSOR = os.environ.get("LESSOR_BIN", "lessor")
WAIT = 20.0


class Program:
    """A process. What it prints is read all the time."""

    def __init__(self, *command: str, **settings: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LESSOR_")}
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            env=inherited | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._has_ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self._lines.append(line)
                self._said.notify_all()
        with self._said:
            self._has_ended = True
            self._said.notify_all()

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line that matches."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self._lines)), None)

        with self._said:
            self._said.wait_for(lambda: found() or self._has_ended, WAIT)
            match = found()
        assert match, f"no {pattern!r} in {self._lines}"
        return match

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()
        self.process.wait(WAIT)

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT)


class Site:
    """A broker with a store in memory, the API in front of it, and workers when wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        serve = ("serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:")
        self.broker = Program(LESSOR, *serve)
        self.server = "http://" + self.broker.says(r"serving on ([^\s,]+)")[1]
        self.settings = {
            "LESSOR_SERVER": self.server,
            "DOCUMENTS_FOLDER": str(folder),
            "DOCUMENTS_LEASE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self.api = self.python("uvicorn", "documents.api:app", "--port", "0")
        self.address = self.api.says(r"running on (http://\S+)")[1]
        self.workers: list[Program] = []

    def python(self, *arguments: str) -> Program:
        """Runs a module."""
        return Program(sys.executable, "-m", *arguments, **self.settings)

    def worker(self, *options: str) -> Program:
        """A worker, when it has begun."""
        worker = self.python("documents.worker", *options)
        self.workers.append(worker)
        worker.says("working on")
        return worker

    def make(self, verb: str) -> str:
        """What a verb of the Makefile prints."""
        program = ["make", "--no-print-directory", verb, f"LESSOR={LESSOR}"]
        done = subprocess.run(
            program,
            cwd=HERE,
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | self.settings,
            check=True,
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        return done.stdout

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Calls the API; the status code instead of an answer if it refuses."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = Request(self.address + path, data=data, method=method, headers=headers)
        try:
            with urlopen(request, timeout=WAIT) as answer:
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            return error.code

    def upload(self, text: str | bytes) -> str:
        """Puts a document; its id."""
        place = self.call("POST", "/documents/upload")
        self.call("PUT", place["upload_url"], text if isinstance(text, bytes) else text.encode())
        return str(place["upload_id"])

    def process(self, document: str) -> Any:
        """Asks for a document to be processed."""
        return self.call("POST", "/documents/process", {"upload_id": document, "name": "a.txt"})

    def end(self, document: str) -> Any:
        """The status of a document when it has ended."""
        return self.call("GET", f"/documents/{document}?wait=20")

    def close(self) -> None:
        """Ends all of it."""
        for program in (*self.workers, self.api, self.broker):
            program.kill()
