"""Where the broker is, and how to be let in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

#: A bearer token, or what tells the present one; it is asked before each call.
Token: TypeAlias = str | Callable[[], str]

_DEFAULT = "http://127.0.0.1:7077"


@dataclass(frozen=True)
class Tls:
    """What TLS needs: files in PEM, or their contents as bytes.

    ca: whom to trust; the system's authorities by default
    cert, key: the client's own certificate, for brokers that ask for one
    server_name: the name in the broker's certificate, if it is not that of the address
    """

    ca: str | Path | bytes | None = None
    cert: str | Path | bytes | None = None
    key: str | Path | bytes | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC wants them."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.cert))


def _read(pem: str | Path | bytes | None) -> bytes | None:
    return Path(pem).read_bytes() if isinstance(pem, (str, Path)) else pem


@dataclass(frozen=True)
class Address:
    """The broker's address: `target` as gRPC wants it, `url` for people."""

    url: str
    target: str
    is_secure: bool

    @classmethod
    def parse(cls, url: str | None) -> Address:
        """From `http://host:port`, `https://host:port`, `host:port`, or a target of gRPC such as
        `dns:///host:port`; from the environment's LESSOR_SERVER if there is none.
        """
        url = url or os.environ.get("LESSOR_SERVER") or _DEFAULT
        scheme, separator, rest = url.partition("://")
        if not separator:
            scheme, rest = "http", url
        if scheme in ("dns", "ipv4", "ipv6", "unix"):
            return cls(url, url, is_secure=False)
        if scheme not in ("http", "https"):
            raise ValueError(f"bad broker address {url!r}: write it as http://127.0.0.1:7077")
        host = rest.rstrip("/")
        if not host or any(mark in host for mark in "/?# "):
            raise ValueError(f"bad broker address {url!r}: write it as {scheme}://127.0.0.1:7077")
        return cls(url, f"dns:///{host}", is_secure=scheme == "https")
