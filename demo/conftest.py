"""What the tests share: files with awkward names, and a broker to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lessor.v1 import broker_pb2, event_pb2, job_pb2

from demo import BINARIES
from jobs import QUEUE, Jobs
from problem import Deadline
from processes import Child, Processes

WAIT_SECONDS = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files whose names or sizes have tripped programs up before."""
    folder = tmp_path / "files"
    contents = {
        "plain.txt": b"one line\n",
        "with spaces.txt": b"no newline at the end",
        "ünïcödé ✓.txt": "größer\n".encode(),
        "new\nline.txt": b"\n\n\n",
        "--help": b"not an option\n",
        "back\\slash": b"\x00\xff\r\n",
        "[bold]markup[/bold].txt": b"[red]\n",
        "empty": b"",
        "deep/er/still/file": b"deep\n",
        "big.bin": bytes(range(256)) * 12288,  # 3 MiB
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    Path(os.fsdecode(os.fsencode(folder) + b"/not \xff utf-8")).write_bytes(b"bytes\n")
    return folder


@dataclass
class Bench:
    """A broker, its jobs, and a way to start workers by hand."""

    processes: Processes
    broker: Child
    address: str
    store: str
    jobs: Jobs
    deadline: Deadline
    workers: list[Child] = field(default_factory=list)

    def start_worker(self, language: str, address: str = "", **settings: object) -> Child:
        """Settings by their names in the environment, without `DEMO_`, in lower case."""
        named = {f"DEMO_{name.upper()}": str(value) for name, value in settings.items()}
        named["LESSOR_ADDRESS"] = address or self.address
        worker = self.processes.start_worker(language, named)
        self.workers.append(worker)
        return worker

    def restart_broker(self, *, crash: bool) -> None:
        """Ends the broker and starts it again at the same address, on the same store."""
        # An idle channel of grpcio looks up only every few seconds: the broker would wait for it.
        self.jobs.close()
        if crash:
            self.broker.kill()
        else:
            assert self.broker.stop() == 0
        self.broker, _ = self.processes.start_broker(self.store, self.address)
        self.jobs = Jobs(self.address, self.processes.folder, self.deadline)

    def enqueue(self, *paths: Path) -> list[str]:
        """The names of the jobs, in the order of the paths."""
        before = len(self.jobs.paths)
        self.jobs.enqueue([os.fsencode(path) for path in paths])
        return list(self.jobs.paths)[before:]

    def wait_for(self, job: str, *states: job_pb2.Job.State) -> job_pb2.Job:
        """The job in full once it is in one of the states; a `Problem` if a worker ends before."""
        request = event_pb2.WatchEventsRequest(queues=[QUEUE], oldest=True)
        request.bookmark_interval.FromSeconds(1)
        for _ in self.jobs.stub.WatchEvents(request, timeout=WAIT_SECONDS):
            for worker in self.workers:
                worker.check()
            if (found := self.read(job)).state in states:
                return found
        raise AssertionError("the watch ended")

    def read(self, job: str) -> job_pb2.Job:
        request = broker_pb2.GetJobRequest(name=job, view=job_pb2.JOB_VIEW_FULL)
        answer: job_pb2.Job = self.jobs.stub.GetJob(request, timeout=WAIT_SECONDS)
        return answer


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    deadline = Deadline(120)
    run = tmp_path / "run"
    run.mkdir()
    with Processes(run, BINARIES, deadline) as processes:
        store = f"sqlite:{run / 'broker.db'}"
        broker, address = processes.start_broker(store)
        jobs = Jobs(address, tmp_path, deadline)
        bench = Bench(processes, broker, address, store, jobs, deadline)
        yield bench
        bench.jobs.close()
