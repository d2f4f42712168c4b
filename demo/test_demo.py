"""The demo as its users run it: the real program, broker and workers on real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from processes import LANGUAGES

DEMO = Path(__file__).parent / "demo.py"
AWKWARD_FILES = 11
RUN_SECONDS = 120


@dataclass
class Run:
    exit_code: int
    output: str
    figures: dict[str, Any]


# A shell that starts the tests in the background has them ignore this signal, and then what they
# start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Runner:
    """Runs the demo with a folder for temporary files that nothing else uses."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.figures = temporary.parent / "figures.json"

    def start(self, *arguments: object, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
        command = [sys.executable, str(DEMO), "--figures", str(self.figures)]
        return subprocess.Popen(
            command + [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Wide enough that no line of a table is broken.
            env=os.environ | {"COLUMNS": "200", "PATH": path, "TMPDIR": str(self.temporary)},
        )

    def run(self, *arguments: object, path: str = os.environ["PATH"]) -> Run:
        process = self.start(*arguments, path=path)
        output, _ = process.communicate(timeout=RUN_SECONDS)
        print(output)
        figures = json.loads(self.figures.read_text()) if self.figures.exists() else {}
        return Run(process.returncode, output, figures)

    def assert_nothing_left(self) -> None:
        mark = f"TMPDIR={self.temporary}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                assert mark not in environment.read_bytes().split(b"\0"), environment
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return Runner(temporary)


@pytest.mark.parametrize("victim", LANGUAGES)
def test_every_file_is_done_though_a_worker_is_killed(
    runner: Runner, folder: Path, victim: str
) -> None:
    run = runner.run("--dir", folder, "--victim", victim)

    assert run.exit_code == 0
    assert run.figures["files"] == run.figures["identical"] == AWKWARD_FILES
    assert run.figures["deliveries"] == AWKWARD_FILES + 1
    assert run.figures["requeues"] == 1
    assert run.figures["problems"] == []
    assert run.figures["wait"]["p50"] <= run.figures["wait"]["p95"] <= run.figures["wait"]["max"]
    workers = {worker["language"]: worker for worker in run.figures["workers"]}
    assert set(workers) == set(LANGUAGES)
    assert sum(worker["jobs"] for worker in workers.values()) == AWKWARD_FILES
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert sum(worker["bytes"] for worker in workers.values()) == total
    killed = workers.pop(victim)
    assert (killed["end"], killed["leases_expired"]) == ("killed", 1)
    for worker in workers.values():
        assert (worker["end"], worker["leases_expired"]) == ("exit code 0", 0)
    rescue = run.figures["rescue"]
    assert rescue["killed"] == killed["worker_id"]
    assert rescue["finished_by"] in {worker["worker_id"] for worker in workers.values()}
    assert rescue["deliveries"] == 2

    assert f"{AWKWARD_FILES} files in {folder}" in run.output
    assert f"{AWKWARD_FILES} of {AWKWARD_FILES} jobs" in run.output
    assert f"every digest is the one of sha256sum: {AWKWARD_FILES}" in run.output
    for worker in (killed, *workers.values()):
        row = next(line for line in run.output.splitlines() if f"│ {worker['worker_id']} " in line)
        assert f" {worker['jobs']} " in row
    runner.assert_nothing_left()


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_one_file_is_enough(runner: Runner, tmp_path: Path, store: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("alone\n")
    run = runner.run("--dir", tmp_path / "one", "--store", store)
    assert run.exit_code == 0
    assert (run.figures["files"], run.figures["requeues"]) == (1, 1)
    assert f"store {store}:" in run.output
    runner.assert_nothing_left()


def test_a_file_that_changed_since_is_reported(
    runner: Runner, folder: Path, tmp_path: Path
) -> None:
    # A sha256sum that is the real one, but only after somebody has written to a file.
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "sha256sum"
    changed = folder / "with spaces.txt"
    program.write_text(
        f'#!/bin/sh\necho changed >> "{changed}"\nexec {shutil.which("sha256sum")} "$@"\n'
    )
    program.chmod(0o755)
    run = runner.run("--dir", folder, path=f"{programs}:{os.environ['PATH']}")

    assert run.exit_code == 1
    [problem] = run.figures["problems"]
    assert problem.startswith("with spaces.txt differs: worker ")
    assert run.figures["identical"] == AWKWARD_FILES - 1
    assert "with spaces.txt differs" in run.output
    assert "every digest" not in run.output


def test_a_folder_without_files_is_refused(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = runner.run("--dir", tmp_path / "empty")
    assert run.exit_code == 2
    assert f"no files in {tmp_path / 'empty'}" in run.output


def test_the_deadline_ends_a_run_that_cannot(runner: Runner, folder: Path) -> None:
    # The lease of the killed worker outlasts the deadline, so its job cannot be done in time.
    run = runner.run("--dir", folder, "--lease", 600, "--deadline", 8)
    assert run.exit_code == 1
    assert "not done within 8 s: still waiting for " in run.output
    runner.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_it_started(
    runner: Runner, folder: Path, number: signal.Signals
) -> None:
    process = runner.start("--dir", folder, "--lease", 600)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("killed "):
            break
    process.send_signal(number)
    process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 128 + number
    runner.assert_nothing_left()
