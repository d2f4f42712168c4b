"""The connection to a broker, and how every call bears deadlines and passing faults.

All of this runs on the link's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc

from lessor import errors, pauses
from lessor.address import Address, Tls, Token
from lessor.errors import ClientClosed, DeadlineExceeded, LessorError, Unavailable
from lessor.methods import Method, Req, Res
from lessor.version import USER_AGENT

KEEP_ALIVE_MS = 30_000
CONNECT_TIMEOUT_MS = 5_000
KEEP_ALIVE_TIMEOUT_MS = 10_000
# What a call may be late on this side before its deadline counts as passed.
_SLACK = 0.05

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Settings:
    """How to reach the broker."""

    address: Address
    tls: Tls | None = None
    token: Token | None = None
    timeout: float = 10.0
    channel_options: Mapping[str, str | int] | None = None

    def open(self) -> grpc.aio.Channel:
        """A channel; nothing is sent yet."""
        options: dict[str, str | int] = {
            "grpc.primary_user_agent": USER_AGENT,
            "grpc.keepalive_time_ms": KEEP_ALIVE_MS,
            "grpc.keepalive_timeout_ms": KEEP_ALIVE_TIMEOUT_MS,
            # Without this, grpcio waits a minute for the answer to a ping.
            "grpc.http2.ping_timeout_ms": KEEP_ALIVE_TIMEOUT_MS,
            "grpc.keepalive_permit_without_calls": 1,
            # A lease that waits sends nothing but pings.
            "grpc.http2.max_pings_without_data": 0,
            # Calls are repeated here, where `retry_after` is known.
            "grpc.enable_retries": 0,
            "grpc.initial_reconnect_backoff_ms": 100,
            # How long opening a connection may take.
            "grpc.min_reconnect_backoff_ms": CONNECT_TIMEOUT_MS,
            "grpc.max_reconnect_backoff_ms": 2000,
            # Clients of one process share nothing, so that closing one cuts off no other.
            "grpc.use_local_subchannel_pool": 1,
            "grpc.lb_policy_name": "round_robin",
        }
        tls = self.tls or Tls()
        if tls.server_name:
            options["grpc.ssl_target_name_override"] = tls.server_name
        pairs = list((options | dict(self.channel_options or {})).items())
        if self.address.is_secure or self.tls:
            return grpc.aio.secure_channel(self.address.target, tls.credentials(), pairs)
        return grpc.aio.insecure_channel(self.address.target, pairs)


class Connection:
    """One lazy channel, opened again after a fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_closed = False
        #: Rises whenever the connection is put down: what was under way then was cut off.
        self.generation = 0
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Method[Any, Any], Any] = {}
        self._may_open = asyncio.Event()
        self._may_open.set()

    async def call(
        self,
        method: Method[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Res:
        """Makes a call, and again while it fails with UNAVAILABLE, tries and time permitting.

        The deadline bounds all tries together; each tells the broker how much of it is left.
        """
        deadline = _now() + (self.settings.timeout if timeout is None else timeout)
        waits = pauses.between_tries()
        while True:
            answer = await self.attempt(method, request, deadline, metadata)
            if not isinstance(answer, LessorError):
                return answer
            pause = next(waits, None) if isinstance(answer, Unavailable) else None
            if pause is None or _now() + pauses.no_sooner(pause, answer) >= deadline:
                raise answer
            await asyncio.sleep(pauses.no_sooner(pause, answer))

    async def attempt(
        self, method: Method[Req, Res], request: Req, deadline: float, metadata: Metadata = ()
    ) -> Res | LessorError:
        """One try. The error is an answer, too, and holds on to nothing of the call."""
        generation = self.generation
        try:
            await asyncio.wait_for(self._may_open.wait(), max(deadline - _now(), 0))
            channel, generation = self._opened(), self.generation
            stub = self._stub(method, channel.unary_unary)
            timeout = max(deadline - _now(), 0)
            return cast(Res, await stub(request, timeout=timeout, metadata=self._with(metadata)))
        except asyncio.TimeoutError:
            return self.late()
        except LessorError as error:
            return error
        except grpc.aio.AioRpcError as error:
            # The broker watches the deadline, too, and calls it a cancellation.
            cancelled = error.code() is grpc.StatusCode.CANCELLED
            if cancelled and _now() >= deadline - _SLACK:
                return self.late()
            return self.error(error)
        except asyncio.CancelledError:
            if self.generation == generation:
                raise
            return self.cut_off()

    def stream(self, method: Method[Req, Res]) -> grpc.aio.StreamStreamCall[Req, Res]:
        """Opens a stream in both directions. Its beginning is for the caller to bound."""
        stub = self._stub(method, self._opened().stream_stream)
        return cast("grpc.aio.StreamStreamCall[Req, Res]", stub(metadata=self._with(())))

    def listen(self, method: Method[Req, Res], request: Req) -> grpc.aio.UnaryStreamCall[Req, Res]:
        """Opens a stream of answers."""
        stub = self._stub(method, self._opened().unary_stream)
        return cast("grpc.aio.UnaryStreamCall[Req, Res]", stub(request, metadata=self._with(())))

    def error(self, error: grpc.aio.AioRpcError) -> LessorError:
        """What a failed call means."""
        return errors.from_call(error, self.settings.address.url)

    def late(self) -> DeadlineExceeded:
        """The error of a call that took too long."""
        return DeadlineExceeded(f"no answer from {self.settings.address.url} in time")

    async def renew(self) -> None:
        """The next call opens a new connection, to whatever the address leads to by then."""
        self.generation += 1
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

    async def ready(self) -> None:
        """Waits while the process forks."""
        await self._may_open.wait()

    async def suspend(self) -> None:
        """Lets go of the socket; calls under way are repeated afterwards."""
        self._may_open.clear()
        await self.renew()

    def resume(self) -> None:
        """Calls may be made again."""
        self._may_open.set()

    async def close(self) -> None:
        """Ends it for good; calls under way fail."""
        self.is_closed = True
        await self.renew()

    def _opened(self) -> grpc.aio.Channel:
        if self.is_closed:
            raise ClientClosed("the client is closed")
        if self._channel is None:
            self._channel = self.settings.open()
        return self._channel

    def _stub(self, method: Method[Req, Res], kind: Any) -> Any:
        stub = self._calls.get(method)
        if stub is None:
            stub = kind(
                method.path,
                request_serializer=method.write,
                response_deserializer=method.read,
            )
            self._calls[method] = stub
        return stub

    def _with(self, metadata: Metadata) -> list[tuple[str, str]]:
        token = self.settings.token
        if token is None:
            return list(metadata)
        text = token if isinstance(token, str) else token()
        return [*metadata, ("authorization", f"Bearer {text}")]

    def cut_off(self) -> LessorError:
        """The error of a call that was under way when the connection was put down."""
        if self.is_closed:
            return ClientClosed("the client was closed while the call was under way")
        return Unavailable(f"the connection to {self.settings.address.url} was put down")


def _now() -> float:
    return asyncio.get_running_loop().time()
