"""The producer's side: enqueues a job per file, follows them, reads what became of them."""

from __future__ import annotations

import base64
import json
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration
from lessor.v1 import broker_pb2, broker_pb2_grpc, enqueue_pb2, event_pb2, job_pb2

import files
from problem import Deadline, Problem

QUEUE = "files"
JOB_TYPE = "hash-file"
RETRY = (Path(__file__).parent / "retry.json").read_text()
CALL_SECONDS = 30
READERS = 8
# The broker takes 1000 jobs and 3 MiB at a time.
BATCH_JOBS = 1000
BATCH_BYTES = 2 << 20
# The results are read at the end: however many there are, none may be purged before.
KEEP = job_pb2.Retention(succeeded_count=-1, dead_count=-1)
# Pauses before a broken stream is opened again: they grow and are random between these.
RECONNECT_SECONDS = (0.25, 20.0)
# The end of the stream's time is the deadline's to report.
RECONNECTABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
FINISHED = (
    event_pb2.Event.JOB_SUCCEEDED,
    event_pb2.Event.JOB_DEAD,
    event_pb2.Event.JOB_CANCELLED,
    event_pb2.Event.JOB_EXPIRED,
)
FINAL_STATES = (
    job_pb2.Job.STATE_SUCCEEDED,
    job_pb2.Job.STATE_DEAD,
    job_pb2.Job.STATE_CANCELLED,
    job_pb2.Job.STATE_EXPIRED,
)


class Jobs:
    """The jobs of a run, each standing for a file."""

    def __init__(self, address: str, folder: Path, deadline: Deadline) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.service_config", RETRY)])
        self.stub = broker_pb2_grpc.JobBrokerStub(self._channel)
        self._folder = folder
        self._deadline = deadline
        self.paths: dict[str, bytes] = {}

    def enqueue(self, paths: list[bytes]) -> None:
        """Whole batches or nothing; a `request_id` on each job makes repeating one safe."""
        requests = (self._request(path) for path in paths)
        at = 0
        for batch in batches(requests):
            answer = self.stub.BatchEnqueue(batch, timeout=self._call("a batch to be enqueued"))
            for result in answer.results:
                self.paths[result.response.job.name] = paths[at]
                at += 1

    def _request(self, path: bytes) -> enqueue_pb2.EnqueueRequest:
        task = {
            "path": files.display(path, self._folder),
            "path_base64": base64.b64encode(path).decode(),
        }
        return enqueue_pb2.EnqueueRequest(
            queue=QUEUE,
            type=JOB_TYPE,
            payload=job_pb2.Payload(
                data=json.dumps(task).encode(), content_type="application/json"
            ),
            request_id=str(uuid.uuid4()),
            retry_policy=job_pb2.RetryPolicy(
                max_attempts=5, initial_backoff=Duration(nanos=100_000_000)
            ),
            retention=KEEP,
        )

    def read(self) -> list[job_pb2.Job | None]:
        """Every job in full, in the order of `paths`; None for one the broker does not know."""
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self._read_one, list(self.paths)))

    def _read_one(self, name: str) -> job_pb2.Job | None:
        request = broker_pb2.GetJobRequest(name=name, view=job_pb2.JOB_VIEW_FULL)
        try:
            return self.stub.GetJob(request, timeout=self._call("the results"))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def _call(self, waiting_for: str) -> float:
        return min(CALL_SECONDS, self._deadline.left(waiting_for))

    def close(self) -> None:
        self._channel.close()


def batches(
    requests: Iterator[enqueue_pb2.EnqueueRequest],
) -> Iterator[enqueue_pb2.BatchEnqueueRequest]:
    batch, size = enqueue_pb2.BatchEnqueueRequest(), 0
    for request in requests:
        if size > BATCH_BYTES or len(batch.requests) == BATCH_JOBS:
            yield batch
            batch, size = enqueue_pb2.BatchEnqueueRequest(), 0
        batch.requests.append(request)
        size += request.ByteSize()
    if batch.requests:
        yield batch


class Follower(threading.Thread):
    """Watches the queue's events from the first on, through as many streams as it takes."""

    def __init__(self, jobs: Jobs, deadline: Deadline, on_finished: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._jobs = jobs
        self._deadline = deadline
        self._on_finished = on_finished
        self._cursor = ""
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._stream: grpc.Call | None = None
        self._stopping = threading.Event()
        self.finished_by: dict[str, str] = {}

    def run(self) -> None:
        shortest, longest = RECONNECT_SECONDS
        pause = shortest
        try:
            while not self._stopping.is_set():
                heard_before = self._cursor
                self._follow_stream()
                pause = shortest if self._cursor != heard_before else min(2 * pause, longest)
                self._stopping.wait(random.uniform(shortest, pause))
        except (grpc.RpcError, Problem) as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _follow_stream(self) -> None:
        """Until the stream ends or breaks in a way that another one may mend."""
        try:
            for answer in self._watch():
                self._note(answer)
        except grpc.RpcError as error:
            if self._stopping.is_set() or error.code() in RECONNECTABLE:
                return
            if error.code() is not grpc.StatusCode.OUT_OF_RANGE:
                raise
            self._start_over()

    def _watch(self) -> Iterator[event_pb2.WatchEventsResponse]:
        request = event_pb2.WatchEventsRequest(
            queues=[QUEUE], bookmark_interval=Duration(seconds=1)
        )
        if self._cursor:
            request.cursor = self._cursor
        else:
            request.oldest = True
        left = self._deadline.left("the jobs to finish")
        stream = self._jobs.stub.WatchEvents(request, timeout=left)
        self._stream = stream
        # Whoever stopped in the meantime could not know this stream.
        if self._stopping.is_set():
            stream.cancel()
        return stream

    def _note(self, answer: event_pb2.WatchEventsResponse) -> None:
        self._cursor = answer.cursor
        for event in answer.events:
            if event.type in FINISHED:
                self._finish(event.job, event.worker_id)

    def _finish(self, job: str, worker_id: str) -> None:
        with self._changed:
            # Events come at least once, so a job may finish here again.
            if job not in self.finished_by:
                self.finished_by[job] = worker_id
                self._on_finished()
            self._changed.notify_all()

    def _start_over(self) -> None:
        """Events were trimmed before they were read: read the jobs, then watch what is left."""
        self._cursor = ""
        for job in self._jobs.read():
            if job is not None and job.state in FINAL_STATES:
                self._finish(job.name, job.worker_id)

    def wait_until(self, done: Callable[[], bool], check: Callable[[], None]) -> None:
        """Waits for events until `done`; `check` may raise at any time."""
        with self._changed:
            while not done():
                if self._failure is not None:
                    raise self._failure
                check()
                self._changed.wait(min(0.2, self._deadline.left(self._unfinished())))

    def _unfinished(self) -> str:
        left = len(self._jobs.paths) - len(self.finished_by)
        return f"{left} of {len(self._jobs.paths)} jobs to finish"

    def stop(self) -> None:
        self._stopping.set()
        if self._stream is not None:
            self._stream.cancel()
        self.join(CALL_SECONDS)
