"""A worker of one job at a time, on nothing but the generated stubs.

The handler runs in the thread of `run`; a second thread keeps its lease meanwhile. A worker must do
no more than this by itself. What a good one does besides is in docs/sdk.md.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from lessor.v1 import lease_pb2
from lessor.v1.broker_pb2_grpc import JobBrokerStub

from calls import LONGER, SECONDS, WAIT, seconds

# The shortest lease there is; whoever has no test to run takes the default of 30.
LEASE_SECONDS = 1.0
# Later it may work. Anything else is a mistake, or the broker's last word.
TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Settlement = lease_pb2.AckRequest | lease_pb2.NackRequest


class Worker:
    """Takes jobs until it is stopped. The handler answers with what settles its job."""

    def __init__(
        self,
        stub: JobBrokerStub,
        *queues: str,
        handler: Callable[[lease_pb2.LeasedJob], Settlement],
        worker_id: str = "",
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.stub = stub
        self.queues = queues
        self.handler = handler
        self.worker_id = worker_id or f"plain-{uuid.uuid4()}"
        self.lease_seconds = lease_seconds
        self.stopping = threading.Event()
        self.poll: grpc.Future[lease_pb2.LeaseResponse] | None = None

    def run(self) -> None:
        """Works until `stop`; the job that runs then is finished."""
        while not self.stopping.is_set():
            for leased in self._lease():
                with self._kept(leased) as is_lost:
                    settlement = self.handler(leased)
                if not is_lost.is_set():
                    self._settle(leased, settlement)

    def stop(self) -> None:
        """Takes no more jobs."""
        self.stopping.set()
        if self.poll is not None:
            self.poll.cancel()

    def _lease(self) -> list[lease_pb2.LeasedJob]:
        # The same until there is an answer: what was leased by one that got lost comes again.
        request = lease_pb2.LeaseRequest(
            queues=self.queues,
            worker_id=self.worker_id,
            lease_duration=seconds(self.lease_seconds),
            wait=WAIT,
            request_id=str(uuid.uuid4()),
        )
        while not self.stopping.is_set():
            self.poll = self.stub.Lease.future(request, timeout=LONGER, wait_for_ready=True)
            # Whoever stopped it in the meantime could not know this call.
            if self.stopping.is_set():
                self.poll.cancel()
            try:
                answer = self.poll.result()
            except grpc.FutureCancelledError:
                break
            except grpc.RpcError as error:
                if error.code() not in TRANSIENT:
                    raise
                continue
            self.stopping.wait(answer.retry_after.ToTimedelta().total_seconds())
            return list(answer.jobs)
        return []

    @contextmanager
    def _kept(self, leased: lease_pb2.LeasedJob) -> Iterator[threading.Event]:
        """Sends heartbeats; the event says that the lease was lost for all that."""
        is_done, is_lost = threading.Event(), threading.Event()
        pause = self.lease_seconds / 3
        request = lease_pb2.ExtendLeaseRequest(lease_token=leased.lease_token)

        def beat() -> None:
            while not is_done.wait(pause):
                try:
                    self.stub.ExtendLease(request, timeout=pause)
                except grpc.RpcError as error:
                    # Any other failure may pass before the lease ends.
                    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                        is_lost.set()
                        return

        beating = threading.Thread(target=beat)
        beating.start()
        try:
            yield is_lost
        finally:
            is_done.set()
            beating.join()

    def _settle(self, leased: lease_pb2.LeasedJob, settlement: Settlement) -> None:
        is_ack = isinstance(settlement, lease_pb2.AckRequest)
        settlement.lease_token = leased.lease_token
        call = self.stub.Ack if is_ack else self.stub.Nack
        try:
            call(settlement, timeout=SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            # Somebody else has the job: drop it.
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
