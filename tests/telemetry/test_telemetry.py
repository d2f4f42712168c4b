"""A broker's traces, metrics and logs, as a real OpenTelemetry Collector gets them.

Needs LESSOR_BIN, the broker's binary, and OTELCOL, the collector that is built from
tests/telemetry/otelcol.
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import unittest
import urllib.request
from pathlib import Path

# Far more than any step takes: what hangs fails.
PATIENCE = 60

TRACE = "0af7651916cd43dd8448eb211c80319c"
PRODUCER = "b7ad6b7169203331"
WORKER = "00f067aa0ba902b7"
SECRET = "a payload that nobody else may read"

# A span as the collector's debug exporter writes it.
SPAN = re.compile(
    r"Trace ID\s*: (?P<trace>\w+)\s+Parent ID\s*: ?(?P<parent>\w*)\s+ID\s*: (?P<id>\w+)"
    r"\s+Name\s*: (?P<name>[^\n]*)(?P<rest>.*?)"
    r"(?=\nSpan #|\nScopeSpans #|\nResourceSpans #|\n\d{4}-|\Z)",
    re.DOTALL,
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Process:
    """A process whose standard error is read as it comes."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            command,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()

    def text(self) -> str:
        with self.news:
            return "".join(self.lines)

    def wait_for(self, *wanted: str) -> None:
        """Returns once all of these were told."""
        with self.news:
            told = self.news.wait_for(
                lambda: all(any(one in line for line in self.lines) for one in wanted), PATIENCE
            )
        assert told, f"no {wanted} in\n{self.text()}"

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        if self.process.stderr:
            self.process.stderr.close()


class Telemetry(unittest.TestCase):
    """One life of a job under a producer and a worker that are traced, told in all three ways."""

    collector: Process
    broker: Process
    job: dict
    token: str
    told: str

    @classmethod
    def setUpClass(cls) -> None:
        port = free_port()
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
            "exporters": {"debug": {"verbosity": "detailed"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    signal: {"receivers": ["otlp"], "exporters": ["debug"]}
                    for signal in ("traces", "metrics")
                },
            },
        }
        cls.collector = Process(
            [os.environ["OTELCOL"], "--config", "yaml:" + json.dumps(config)], {}
        )
        cls.addClassCleanup(cls.collector.end)
        cls.collector.wait_for("Everything is ready")
        home = tempfile.TemporaryDirectory()
        cls.addClassCleanup(home.cleanup)
        serve = ["serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:"]
        cls.broker = Process(
            [os.environ["LESSOR_BIN"], *serve, "--log", "info,lessor_server=debug"],
            {
                "HOME": home.name,
                "LESSOR_LOG_FORMAT": "json",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_TRACES_SAMPLER": "parentbased_always_on",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            },
        )
        try:
            cls.work()
        finally:
            cls.broker.end()
        # The broker has sent everything before it ended; the collector writes it as it comes.
        cls.collector.wait_for("lessor.v1.JobBroker/Ack", "lessor.jobs.completed")
        cls.told = cls.collector.text()

    @classmethod
    def work(cls) -> None:
        assert cls.broker.process.stdout
        line = cls.broker.process.stdout.readline()
        address = re.search(r"serving on (\S+),", line)
        assert address, line
        base = f"http://{address[1]}/lessor.v1.JobBroker/"

        def call(method: str, body: dict, span: str | None) -> dict:
            headers = {"content-type": "application/json"}
            if span:
                headers["traceparent"] = f"00-{TRACE}-{span}-01"
            request = urllib.request.Request(base + method, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)

        body = {"queue": "mail", "type": "welcome", "payload": {"json": SECRET}}
        call("Enqueue", body, PRODUCER)
        # A worker asks before it knows of any trace, and goes on in that of the job.
        leased = call("Lease", {"queues": ["mail"], "workerId": "worker-7", "wait": "30s"}, None)
        cls.job, cls.token = leased["jobs"][0]["job"], leased["jobs"][0]["leaseToken"]
        call("Ack", {"leaseToken": cls.token}, WORKER)
        cls.collector.wait_for("lessor.queue.jobs")

    def spans(self, name: str) -> list[dict]:
        return [
            span
            for span in map(re.Match.groupdict, SPAN.finditer(self.told))
            if span["name"] == name
        ]

    def test_the_worker_gets_the_context_of_the_producer(self) -> None:
        self.assertEqual(self.job["traceContext"]["traceparent"], f"00-{TRACE}-{PRODUCER}-01")

    def test_producer_broker_and_worker_share_one_trace(self) -> None:
        (enqueue,) = self.spans("lessor.v1.JobBroker/Enqueue")
        self.assertEqual((enqueue["trace"], enqueue["parent"]), (TRACE, PRODUCER))
        (ack,) = self.spans("lessor.v1.JobBroker/Ack")
        self.assertEqual((ack["trace"], ack["parent"]), (TRACE, WORKER))
        for name in ("insert mail", "claim mail"):
            (span,) = self.spans(name)
            self.assertEqual((span["trace"], span["parent"]), (TRACE, PRODUCER), name)

    def test_a_lease_is_linked_to_what_made_its_jobs(self) -> None:
        (lease,) = self.spans("lessor.v1.JobBroker/Lease")
        self.assertNotEqual(lease["trace"], TRACE)
        self.assertRegex(lease["rest"], rf"Trace ID: {TRACE}\s+-> ID: {PRODUCER}")
        self.assertIn("messaging.client.id: Str(worker-7)", lease["rest"])

    def test_spans_say_what_they_are_about(self) -> None:
        (enqueue,) = self.spans("lessor.v1.JobBroker/Enqueue")
        job = self.job["name"].rsplit("/", 1)[1]
        for attribute in (
            "rpc.system.name: Str(connectrpc)",
            "rpc.response.status_code: Str(OK)",
            "messaging.destination.name: Str(mail)",
            f"messaging.message.id: Str({job})",
        ):
            self.assertIn(attribute, enqueue["rest"])
        self.assertIn("service.name: Str(lessor)", self.told)
        self.assertIn("deployment.environment.name: Str(test)", self.told)

    def test_the_collector_gets_documented_metrics_and_no_others(self) -> None:
        names = set(re.findall(r"-> Name: ((?:lessor|rpc)\.\S+)", self.told))
        page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
        documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))

        def is_documented(name: str) -> bool:
            plain = name.replace(".", "_")
            return any(plain + end in documented for end in ("", "_total", "_seconds", "_bytes"))

        self.assertEqual([name for name in sorted(names) if not is_documented(name)], [])
        for name in ("lessor.jobs.enqueued", "lessor.queue.jobs", "rpc.server.call.duration"):
            self.assertIn(name, names)

    def test_logs_are_objects_with_job_worker_and_trace(self) -> None:
        lines = [json.loads(line) for line in self.broker.text().splitlines()]
        for line in lines:
            self.assertLessEqual({"timestamp", "level", "target", "message"}, line.keys())
        (leased,) = [line for line in lines if line["message"] == "job leased"]
        job = self.job["name"].rsplit("/", 1)[1]
        self.assertEqual(
            [leased[field] for field in ("queue", "job_id", "worker_id", "attempt", "trace_id")],
            ["mail", job, "worker-7", 1, TRACE],
        )

    def test_nothing_tells_payloads_or_tokens(self) -> None:
        for secret in (SECRET, self.token):
            self.assertNotIn(secret, self.broker.text())
            self.assertNotIn(secret, self.told)


if __name__ == "__main__":
    unittest.main()
