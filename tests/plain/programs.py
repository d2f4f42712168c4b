"""Workers as programs of their own. usage: programs.py NAME ADDRESS QUEUE"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import grpc
from lessor.v1 import lease_pb2
from lessor.v1.broker_pb2_grpc import JobBrokerStub

from calls import Fault, ack, connect, lease, seconds, text
from worker import LEASE_SECONDS, Worker


def say(*words: object) -> None:
    print(*words, flush=True)


def hold(stub: JobBrokerStub, queue: str) -> None:
    """Holds its job until it is killed."""

    def stay(leased: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        say("holding", leased.job.name)
        signal.pause()
        raise AssertionError("nobody asked it to go on")

    Worker(stub, queue, handler=stay).run()


def poison(stub: JobBrokerStub, queue: str) -> None:
    """Dies of its job."""

    def die(leased: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(leased)

    Worker(stub, queue, handler=die).run()


def freeze(stub: JobBrokerStub, queue: str) -> None:
    """Settles its job after SIGUSR1, whoever has it then."""
    leased = lease(stub, queue, lease_duration=seconds(LEASE_SECONDS))
    say("running", leased.job.name)
    signal.sigwait([signal.SIGUSR1])
    try:
        ack(stub, leased, result=text("too late"))
        say("settled it")
    except grpc.RpcError as error:
        say("refused", Fault.of(error).reason)


def shifted(stub: JobBrokerStub, queue: str) -> None:
    """Its clock is off, and jumps while it works; see shifted_clock.c."""
    clock = ctypes.CDLL(None)
    say("off by", round(time.time() - float(os.environ["TRUE_TIME"])))

    def work(_: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        clock.shift_clock(-int(os.environ["CLOCK_OFFSET"]))
        # As much work as takes several leases.
        time.sleep(2.5 * LEASE_SECONDS)
        return lease_pb2.AckRequest(result=text("in time"))

    Worker(stub, queue, handler=work).run()


if __name__ == "__main__":
    # Before gRPC starts threads, which would take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    with connect(sys.argv[2]) as channel:
        globals()[sys.argv[1]](JobBrokerStub(channel), sys.argv[3])
