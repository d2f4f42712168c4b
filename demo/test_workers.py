"""Each worker keeps the promises of a worker, whatever it is written in."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
from lessor.v1 import job_pb2

from conftest import Bench
from processes import LANGUAGES
from relay import Relay

READY = job_pb2.Job.STATE_READY
RETRYING = job_pb2.Job.STATE_RETRYING
SUCCEEDED = job_pb2.Job.STATE_SUCCEEDED

pytestmark = pytest.mark.parametrize("language", LANGUAGES)


def test_the_result_is_digest_size_and_lines(bench: Bench, folder: Path, language: str) -> None:
    bench.start_worker(language)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path, name in zip(paths, bench.enqueue(*paths), strict=True):
        job = bench.wait_for(name, SUCCEEDED)
        content = path.read_bytes()
        assert json.loads(job.result.data) == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "lines": content.count(b"\n"),
        }


def test_heartbeats_keep_the_lease_of_a_long_job(bench: Bench, folder: Path, language: str) -> None:
    bench.start_worker(language, lease_seconds=1, hold_job=1, hold_seconds=4)
    waiting = bench.enqueue(folder / "plain.txt", folder / "empty")
    for name in waiting:
        assert bench.wait_for(name, SUCCEEDED).delivery_count == 1


def test_on_sigterm_it_finishes_its_job_and_releases_the_others(
    bench: Bench, folder: Path, language: str
) -> None:
    names = bench.enqueue(folder / "plain.txt", folder / "empty", folder / "big.bin")
    worker = bench.start_worker(language, lease_seconds=60, hold_job=1)
    worker.wait_for_line(f"^holding {names[0]}", bench.deadline)

    assert worker.stop() == 0
    assert bench.read(names[0]).state == SUCCEEDED
    for name in names[1:]:
        job = bench.read(name)
        assert (job.state, job.attempt, job.delivery_count) == (READY, 0, 1)


def test_a_failure_is_told_and_tried_again(bench: Bench, tmp_path: Path, language: str) -> None:
    bench.start_worker(language)
    missing = tmp_path / "appears later"
    [name] = bench.enqueue(missing)
    failed = bench.wait_for(name, RETRYING)
    assert failed.last_failure.code == "FILE_UNREADABLE"
    missing.write_text("there")
    assert bench.wait_for(name, SUCCEEDED).attempt > 1


def test_a_lost_lease_is_let_go(bench: Bench, folder: Path, language: str) -> None:
    names = bench.enqueue(folder / "plain.txt", folder / "big.bin")
    frozen = bench.start_worker(
        language, worker_id="frozen", lease_seconds=1, hold_job=1, hold_seconds=1
    )
    frozen.wait_for_line("^holding", bench.deadline)
    frozen.process.send_signal(signal.SIGSTOP)
    other = "python" if language != "python" else "node"
    bench.start_worker(other, worker_id="other")
    for name in names:
        bench.wait_for(name, SUCCEEDED)
    frozen.process.send_signal(signal.SIGCONT)

    for name in names:
        frozen.wait_for_line(f"^lost {name}", bench.deadline)
        job = bench.read(name)
        assert {attempt.worker_id for attempt in job.attempts} == {"frozen", "other"}
        assert job.delivery_count == 2
    assert frozen.stop() == 0


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_it_outlives_a_restart_of_the_broker(
    bench: Bench, folder: Path, language: str, crash: bool
) -> None:
    worker = bench.start_worker(language)
    [before] = bench.enqueue(folder / "plain.txt")
    bench.wait_for(before, SUCCEEDED)

    bench.restart_broker(crash=crash)
    [after] = bench.enqueue(folder / "empty")
    bench.wait_for(after, SUCCEEDED)
    assert worker.stop() == 0


def test_it_outlives_a_connection_that_is_lost(bench: Bench, folder: Path, language: str) -> None:
    relay = Relay(bench.address)
    worker = bench.start_worker(language, relay.address)
    [before] = bench.enqueue(folder / "plain.txt")
    bench.wait_for(before, SUCCEEDED)

    relay.lose_connections()
    [after] = bench.enqueue(folder / "empty")
    bench.wait_for(after, SUCCEEDED)
    assert worker.stop() == 0
