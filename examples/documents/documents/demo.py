"""The whole of it: the API, a worker, and one document.

A broker is started, too, unless LESSOR_SERVER names one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Any
from urllib.request import Request, urlopen

TEXT = "A document of two pages.\n\f\nThis is the second one.\n"


@contextmanager
def broker() -> Iterator[None]:
    """The broker, with a store that is gone afterwards."""
    if "LESSOR_SERVER" in os.environ:
        yield
        return
    program = os.environ.get("LESSOR_BIN", "lessor")
    serve = [program, "serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:"]
    with Popen(serve, stdout=PIPE, stderr=DEVNULL, text=True) as serving:
        try:
            os.environ["LESSOR_SERVER"] = "http://" + said(serving.stdout, r"serving on ([^,\s]+)")
            yield
        finally:
            serving.terminate()


def said(lines: IO[str] | None, pattern: str) -> str:
    """What a program says about itself, when it does."""
    found = (re.search(pattern, line) for line in lines or ())
    return next(match[1] for match in found if match)


def main() -> None:
    """Uploads a document, has it processed, and prints what the API says."""
    server = [sys.executable, "-m", "uvicorn", "documents.api:app", "--port", "0"]
    with (
        broker(),
        Popen([*server, "--no-access-log"], stderr=PIPE, text=True) as api,
        Popen([sys.executable, "-m", "documents.worker", "--all"]) as worker,
    ):
        try:
            address = said(api.stderr, r"(http://\S+)")
            place = show(address, "POST", "/documents/upload")
            call(address, "PUT", place["upload_url"], TEXT.encode())
            wanted = json.dumps({"upload_id": place["upload_id"], "name": "demo.txt"}).encode()
            job = show(address, "POST", "/documents/process", wanted)
            show(address, "GET", f"/documents/{job['job_id']}?wait=20")
            show(address, "GET", "/queue/info/document_processing")
        finally:
            worker.terminate()
            api.terminate()


def show(address: str, method: str, path: str, body: bytes | None = None) -> Any:
    """Calls the API and prints what it answers."""
    answer = json.loads(call(address, method, path, body))
    print(f"{method} {path}\n  {json.dumps(answer)}", flush=True)
    return answer


def call(address: str, method: str, path: str, body: bytes | None = None) -> bytes:
    """Calls the API."""
    headers = {"content-type": "application/json"}
    request = Request(address + path, data=body, method=method, headers=headers)
    with urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main()
