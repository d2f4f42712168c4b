"""The page on moving from RQ: its code runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lessor import Client
from programs import HERE, LESSOR, Program

PAGE = HERE.parent.parent / "docs" / "moving-from" / "rq.md"
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def server() -> Iterator[str]:
    broker = Program(LESSOR, "serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:")
    yield "http://" + broker.says(r"serving on ([^\s,]+)")[1]
    broker.kill()


def test_the_code_of_the_page_runs(server: str, tmp_path: Path) -> None:
    names = []
    for name, code in BLOCK.findall(PAGE.read_text()):
        names.append(name)
        (tmp_path / name).write_text(code)
    assert names == ["tasks.py", "enqueue.py", "info.py"]
    settings = {"LESSOR_SERVER": server}

    def run(name: str) -> str:
        done = subprocess.run(
            [sys.executable, name],
            cwd=tmp_path,
            env=os.environ | settings,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout

    worker = Program(sys.executable, str(tmp_path / "tasks.py"), **settings)
    assert run("enqueue.py") == "sent to ada@example.com\nCANCELLED\n"
    assert run("info.py") == "0 0 1\n"
    # As `lessor import rq` makes them.
    with Client(server) as client:
        call = {"args": ["eve@example.com"], "kwargs": {}}
        done = client.wait(client.enqueue("mail", call, type="tasks.send_email"), 20)
        assert done.result is not None
        assert done.result.json() == "sent to eve@example.com"
    assert worker.stop() == 0
