"""An HTTP address that says how the worker is, for the pod that it runs in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Report = Callable[[], dict[str, Any]]


class Health:
    """`/livez` answers 200 while the worker lives, `/readyz` while it is connected; else 503."""

    def __init__(self, host: str, port: int, report: Report) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(report))
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="lessor-health", daemon=True
        ).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


def _handler(report: Report) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = report()
            path = self.path.partition("?")[0]
            if path == "/livez":
                is_well = state["alive"]
            elif path == "/readyz":
                is_well = state["connected"]
            else:
                self.send_error(404)
                return
            body = json.dumps(state).encode()
            self.send_response(200 if is_well else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line each."""

    return Handler
