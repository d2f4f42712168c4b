"""Hashes a folder's files through the broker, with a worker in each of three languages.

One worker is killed in the middle of a job. Its lease expires, another worker does the job, and in
the end every digest must be the one that the `sha256sum` program gives.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from lessor.v1 import job_pb2
from rich.console import Console
from rich.text import Text

import files
import outcome
import report
from jobs import QUEUE, Follower, Jobs
from problem import Deadline, Problem
from processes import LANGUAGES, Child, Processes

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
# The worker to be killed gets its jobs first: a share of all, so that it surely has one to hold.
VICTIM_SHARE = 4
VICTIM_MOST = 20


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dir",
        type=Path,
        default=ROOT,
        help="folder of the files: those tracked by git if there are any, else all in it",
    )
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--victim", choices=LANGUAGES, default="python", help="who is killed")
    parser.add_argument("--lease", type=float, default=3, metavar="SECONDS")
    parser.add_argument(
        "--deadline", type=float, default=300, metavar="SECONDS", help="for the whole run"
    )
    parser.add_argument("--binaries", type=Path, default=BINARIES, metavar="FOLDER")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write them as JSON, too")
    return parser.parse_args()


@dataclass
class Running:
    """A worker's process, and what the report will say of it."""

    worker: outcome.Worker
    child: Child


@dataclass(frozen=True)
class Kill:
    """The job whose worker was killed, and when by this machine's clock."""

    job: str
    worker_id: str
    time: float


class Demo:
    """One run, from the broker's start to the comparison."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options = options
        self.console = console
        self.deadline = Deadline(options.deadline)
        self.run_id = uuid.uuid4().hex[:8]
        self.workers: dict[str, Running] = {}
        self.problems: list[str] = []

    def run(self) -> outcome.Outcome:
        paths = self.find()
        with (
            tempfile.TemporaryDirectory(prefix="lessor-demo-") as folder,
            Processes(Path(folder), self.options.binaries, self.deadline) as processes,
        ):
            broker, address = self.start_broker(processes)
            with closing(Jobs(address, self.options.dir, self.deadline)) as jobs:
                kill = self.work(processes, broker, address, jobs, paths)
                self.stop_workers()
                records = dict(zip(jobs.paths, jobs.read(), strict=True))
            if (code := broker.stop()) != 0:
                self.problems.append(f"the broker ended with exit code {code}")
        return self.judge(jobs.paths, records, kill)

    def find(self) -> list[bytes]:
        found = files.find(self.options.dir)
        if not found.paths:
            raise Problem(f"no files in {self.options.dir}", exit_code=2)
        kind = "tracked by git in" if found.tracked else "in"
        self.say(f"{len(found.paths)} files {kind} {self.options.dir}")
        if found.unreadable:
            self.say(f"{found.unreadable} more are left out: they cannot be read")
        return found.paths

    def start_broker(self, processes: Processes) -> tuple[Child, str]:
        store = f"sqlite:{processes.folder / 'broker.db'}"
        if self.options.store == "redis":
            store = processes.start_redis()
        broker, address = processes.start_broker(store)
        self.say(f"broker on {address}, store {store}")
        return broker, address

    def start_worker(
        self, processes: Processes, address: str, language: str, hold_job: int = 0
    ) -> Running:
        worker_id = f"{language}-{self.run_id}"
        settings = {
            "LESSOR_ADDRESS": address,
            "DEMO_QUEUE": QUEUE,
            "DEMO_WORKER_ID": worker_id,
            "DEMO_LEASE_SECONDS": str(self.options.lease),
            "DEMO_HOLD_JOB": str(hold_job),
        }
        child = processes.start_worker(language, settings)
        running = self.workers[worker_id] = Running(outcome.Worker(language, worker_id), child)
        return running

    def work(
        self, processes: Processes, broker: Child, address: str, jobs: Jobs, paths: list[bytes]
    ) -> Kill:
        """Has every job done. The first few go to the victim, which is left holding the last."""
        first = max(1, min(len(paths) // VICTIM_SHARE, VICTIM_MOST))
        victim = self.start_worker(processes, address, self.options.victim, hold_job=first)
        with report.progress(self.console, len(paths)) as advance:
            jobs.enqueue(paths[:first])
            with following(jobs, self.deadline, advance) as follower:
                held = victim.child.wait_for_line(r"^holding (\S+)", self.deadline)[1]
                others = {
                    self.start_worker(processes, address, language).worker.worker_id
                    for language in LANGUAGES
                    if language != self.options.victim
                }
                jobs.enqueue(paths[first:])

                def check() -> None:
                    for child in (broker, *(running.child for running in self.workers.values())):
                        if not child.killed:
                            child.check()

                def all_at_work() -> bool:
                    finished = follower.finished_by
                    return others <= set(finished.values()) or len(finished) >= len(paths) - 1

                follower.wait_until(all_at_work, check)
                kill = self.kill(victim, held, follower)
                follower.wait_until(lambda: len(follower.finished_by) == len(paths), check)
        return kill

    def kill(self, victim: Running, held: str, follower: Follower) -> Kill:
        if held in follower.finished_by:
            self.problems.append(f"{held} was done by another worker while its own was alive")
        kill = Kill(held, victim.worker.worker_id, time.time())
        victim.child.kill()
        self.say(f"killed {victim.worker.worker_id} in the middle of a job")
        return kill

    def stop_workers(self) -> None:
        for running in self.workers.values():
            code = running.child.stop()
            if running.child.killed:
                running.worker.end = "killed"
                continue
            running.worker.end = f"exit code {code}"
            if code != 0:
                self.problems.append(f"{running.worker.worker_id} ended with exit code {code}")

    def judge(
        self, paths: dict[str, bytes], records: dict[str, job_pb2.Job | None], kill: Kill
    ) -> outcome.Outcome:
        self.say("comparing with sha256sum")
        facts = files.facts(list(paths.values()), self.deadline)
        workers = [running.worker for running in self.workers.values()]
        result = outcome.count(len(paths), [job for job in records.values() if job], workers)
        result.problems = self.problems
        for name, path in paths.items():
            if (wrong := outcome.compare(records[name], facts[path])) is None:
                result.identical += 1
            else:
                result.problems.append(f"{self.display(path)} {wrong}")
        if (job := records[kill.job]) is not None:
            held = self.display(paths[kill.job])
            result.rescue = outcome.rescue(job, held, kill.worker_id, kill.time)
        if result.rescue is None:
            result.problems.append("the job of the killed worker was not done by another")
        return result

    def display(self, path: bytes) -> str:
        return files.display(path, self.options.dir)

    def say(self, message: str) -> None:
        self.console.print(Text(message))


@contextmanager
def following(
    jobs: Jobs, deadline: Deadline, on_finished: Callable[[], None]
) -> Iterator[Follower]:
    follower = Follower(jobs, deadline, on_finished)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def end_on_sigterm(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    options = arguments()
    console = Console()
    signal.signal(signal.SIGTERM, end_on_sigterm)
    try:
        result = Demo(options, console).run()
    except Problem as problem:
        console.print(Text(f"✗ {problem}", style="red"))
        return problem.exit_code
    except grpc.RpcError as error:
        console.print(Text(f"✗ {error.code().name}: {error.details()}", style="red"))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    report.show(console, result)
    if options.figures:
        options.figures.write_text(json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
