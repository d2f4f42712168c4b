"""What the tests share: a broker, a relay that breaks connections, programs that are workers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from lessor import Client, Event, Job
from lessor.v1 import admin_pb2, admin_pb2_grpc, broker_pb2_grpc

HERE = Path(__file__).resolve().parent
WAIT = 15.0
#: The shortest lease there is.
LEASE = 1.0


def binary() -> str:
    """The broker: LESSOR_BIN, or what Cargo has built."""
    target = os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent / "target"
    return os.environ.get("LESSOR_BIN") or str(Path(target) / "debug" / "lessor")


class Program:
    """A process whose lines can be waited for."""

    def __init__(self, command: list[str], log: Path, **settings: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LESSOR_")}
        self.log = log
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=inherited | settings
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line that matches."""
        with self._changed:
            found: list[re.Match[str] | None] = []

            def look() -> bool:
                found[:] = [re.search(pattern, line) for line in self.lines]
                return any(found) or self._ended

            self._changed.wait_for(look, WAIT)
            for match in found:
                if match:
                    return match
        raise AssertionError(f"no {pattern!r} in {self.lines}\n{self.log.read_text()[-3000:]}")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def ends(self) -> int:
        """Waits for the end; the exit code."""
        code = self.process.wait(WAIT)
        self._reader.join(WAIT)
        return code

    def stop(self) -> int:
        """Asks it to end."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.ends()

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()
        self.ends()


class Broker:
    """The real binary."""

    def __init__(
        self, folder: Path, store: str, *options: str, listen: str = "127.0.0.1:0"
    ) -> None:
        self.folder = folder
        self.store = store
        self.options = options
        self.address = listen
        self.start()

    def start(self) -> None:
        """Starts it, again at the same address."""
        command = [binary(), "serve", "--store", self.store, "--listen", self.address]
        self.program = Program([*command, *self.options], self.folder / "broker.log")
        self.address = self.program.says(r"serving on (\S+?),")[1]

    def stop(self) -> None:
        """Ends it in good order."""
        assert self.program.stop() == 0

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.program.kill()

    @contextmanager
    def elsewhere(self) -> Iterator[str]:
        """The address of another broker on the same store, where no worker looks for it."""
        folder = self.folder / "elsewhere"
        folder.mkdir()
        broker = Broker(folder, self.store, *self.options)
        try:
            yield broker.address
        finally:
            broker.stop()

    @contextmanager
    def admin(self) -> Iterator[admin_pb2_grpc.JobBrokerAdminStub]:
        """The operator's calls, on plain stubs."""
        with grpc.insecure_channel(self.address) as channel:
            yield admin_pb2_grpc.JobBrokerAdminStub(channel)

    @contextmanager
    def stub(self) -> Iterator[broker_pb2_grpc.JobBrokerStub]:
        """The plain stubs of the other calls."""
        with grpc.insecure_channel(self.address) as channel:
            yield broker_pb2_grpc.JobBrokerStub(channel)

    def settings(self, queue: str, **values: Any) -> None:
        """Settings of a queue."""
        request = admin_pb2.UpdateQueueRequest(queue=admin_pb2.Queue(name=queue, **values))
        request.update_mask.paths.extend(values)
        with self.admin() as admin:
            admin.UpdateQueue(request, timeout=WAIT)

    def revoke(self, job: str) -> None:
        """Takes a job from its worker."""
        with self.admin() as admin:
            admin.RevokeLease(admin_pb2.JobActionRequest(name=job), timeout=WAIT)


class Relay:
    """A TCP relay: it passes on, holds back what the broker says, or breaks connections."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._open = threading.Event()
        self._open.set()
        self._refuse = False
        #: How many connections were made through it.
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on nothing comes back from the broker."""
        self._open.clear()

    def freeze(self) -> None:
        """The present connections stay, but nothing goes through them; new ones are passed on."""
        self._open.clear()
        self._open = threading.Event()
        self._open.set()

    def cut(self, *, refuse: bool = False) -> None:
        """Breaks all connections; new ones are passed on, unless they are refused."""
        self._refuse = refuse
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _close(end)
        self._open.set()

    def mend(self) -> None:
        """Connections are passed on again."""
        self._refuse = False

    def close(self) -> None:
        """Ends it."""
        _close(self._server)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                if self._refuse:
                    raise OSError
                broker = socket.create_connection(self._target)
            except OSError:
                _close(client)
                continue
            self.connections += 1
            self._pairs.append((client, broker))
            for pump in ((client, broker, False), (broker, client, True)):
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_back: bool) -> None:
        # What was held back is lost with its connection.
        with_this = self._open
        while True:
            try:
                data = source.recv(1 << 16)
                if is_back and not with_this.is_set():
                    with_this.wait()
                    data = b""
                if not data:
                    break
                sink.sendall(data)
            except OSError:
                break
        _close(source)
        _close(sink)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for this machine, and its key."""
    folder.mkdir()
    paths = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


class Refusing:
    """A broker that lacks a call, or is away for it; all others it passes on to a real one."""

    def __init__(
        self, target: str, path: str = "/lessor.v1.JobBroker/Work", retry_after: float | None = None
    ) -> None:
        self._channel = grpc.insecure_channel(target)
        self._path = path
        self._retry_after = retry_after
        #: The calls that were refused.
        self.refused: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(16), handlers=[_Passing(self._handler)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        """Ends it."""
        self._server.stop(0).wait()
        self._channel.close()

    def _handler(self, path: str) -> grpc.RpcMethodHandler[bytes, bytes]:
        if path == self._path:
            self.refused.append(path)
            if self._retry_after is None:
                return grpc.stream_stream_rpc_method_handler(_unimplemented)
            return grpc.unary_unary_rpc_method_handler(self._away)
        if path.endswith("/WatchEvents"):
            return grpc.unary_stream_rpc_method_handler(self._channel.unary_stream(path))
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)

        def passed(request: bytes, context: grpc.ServicerContext) -> bytes:
            answer: Any = call.future(request, timeout=context.time_remaining())
            context.add_callback(lambda: answer.cancel() and None)
            try:
                return bytes(answer.result())
            except grpc.RpcError as error:
                failed: Any = error
                context.set_trailing_metadata(failed.trailing_metadata())
                context.abort(failed.code(), failed.details())

        return grpc.unary_unary_rpc_method_handler(passed)

    def _away(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="away")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int((self._retry_after or 0) * 1e9))
        status.details.add().Pack(retry)
        details = status.SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")


def _unimplemented(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such call")


class _Passing(grpc.GenericRpcHandler):
    def __init__(self, handler: Callable[[str], grpc.RpcMethodHandler[bytes, bytes]]) -> None:
        self._handler = handler

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handler(details.method)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def worker_program(folder: Path, address: str, queue: str, name: str, **settings: str) -> Program:
    """A worker in a process of its own: a function of programs.py."""
    command = [sys.executable, str(HERE / "programs.py"), name, address, queue]
    return Program(command, folder / f"{name}.log", **settings)


def until(client: Client, job: Job | str, *types: str) -> Event:
    """Waits for an event of a job that may have come already."""
    name = job if isinstance(job, str) else job.name
    queue = name.split("/")[1]
    with client.watch(queues=[queue], oldest=True) as watch:
        return next(event for event in watch if event.job == name and event.type in types)


def eventually(holds: Callable[[], bool]) -> None:
    """Waits for what no event tells."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come to be")
