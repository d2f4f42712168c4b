"""Jobs of real BullMQ, Bull and RQ, written to a real Redis and imported into a real broker.

Needs LESSOR_BIN, the binary, redis-server and node on the PATH, and the packages of
tests/import/requirements.txt and tests/import/writers/package-lock.json.
"""

import base64
import datetime
import decimal
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import redis
from rq import Callback, Queue, Repeat, Retry
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

# Far more than any step takes: what hangs fails.
PATIENCE = 60
LESSOR = os.environ["LESSOR_BIN"]
WRITERS = Path(__file__).parent / "writers"
HOUR = 3600


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Broker:
    """A broker with a store in memory, and the command line that reaches it."""

    def __init__(self) -> None:
        command = [LESSOR, "serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.env = os.environ | {
            "LESSOR_SERVER": "http://" + line.split(" serving on ")[1].split(",")[0]
        }

    def run(self, *args: str, code: int = 0) -> str:
        done = self.attempt(*args)
        assert done.returncode == code, (args, done)
        return done.stdout

    def attempt(self, *args: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [LESSOR, *args],
            check=False,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def read(self, *args: str, code: int = 0):
        return json.loads(self.run(*args, "-o", "json", code=code))

    def shell(self, command: str):
        """What a command prints that a user copies into a shell."""
        path = f"{Path(LESSOR).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command],
            env=self.env | {"PATH": path},
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        return json.loads(done.stdout)

    def jobs(self, queue: str) -> dict[str, dict]:
        """The jobs of a queue by their types, in the order in which they will run."""
        lines = self.run("jobs", queue, "--full", "--limit", "0", "-o", "jsonl").splitlines()
        return {job.get("type", ""): job for job in map(json.loads, lines)}

    def count(self, queue: str) -> int:
        return len(self.run("jobs", queue, "--limit", "0", "-o", "jsonl").splitlines())

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


class Import(unittest.TestCase):
    """One Redis for all tests, which only read it; a broker for each."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="lessor-import-")
        cls.port = free_port()
        cls.server = subprocess.Popen(
            ["redis-server", "--port", str(cls.port), "--dir", cls.folder.name, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        cls.addClassCleanup(cls.folder.cleanup)
        cls.addClassCleanup(cls.server.wait, PATIENCE)
        cls.addClassCleanup(cls.server.terminate)
        cls.redis = redis.Redis(port=cls.port)
        cls.addClassCleanup(cls.redis.close)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                cls.redis.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
        for writer in ["bullmq.js", "bull.js"]:
            subprocess.run(["node", WRITERS / writer, str(cls.port)], check=True, timeout=PATIENCE)
        write_rq(cls.redis)
        # A user that may only read: all imports do with it.
        cls.redis.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            categories=["+@read"],
            commands=["+select"],
        )
        cls.url = f"redis://reader:secret@127.0.0.1:{cls.port}"

    def setUp(self) -> None:
        self.broker = Broker()
        self.addCleanup(self.broker.end)

    def take(self, kind: str, *args: str, code: int = 0) -> dict[str, dict]:
        """The report of an import, by queues."""
        report = self.broker.read("import", kind, "--from", self.url, *args, code=code)
        self.assertNotIn("secret", json.dumps(report))
        return {queue["queue"]: queue for queue in report["queues"]}

    def test_a_dry_run_shows_what_it_would_do_and_writes_nothing(self) -> None:
        for kind in ["bullmq", "bull", "rq"]:
            self.take(kind)
        self.assertEqual(self.broker.read("queues"), [])

        report = self.take("bullmq")
        self.assertEqual(list(report), ["busy", "emails", "many", "paused"])
        emails = report["emails"]
        counts = [emails[state] for state in ["waiting", "prioritized", "delayed"]]
        self.assertEqual(counts, [7, 3, 1])
        left = {why: tally["jobs"] for why, tally in emails["leftOut"].items()}
        self.assertEqual(
            left,
            {
                "children of a flow": 1,
                "made by a scheduler, which is a schedule here": 1,
                "parents of a flow, which wait for their children": 1,
            },
        )
        self.assertEqual(emails["samples"][0]["payload"], {"json": {"n": 4}})

        text = self.broker.run("import", "bullmq", "--from", self.url, "-o", "table")
        self.assertIn("QUEUE", text)
        self.assertIn("repeat the command with --execute", text)

    def test_jobs_of_bullmq_keep_what_they_are(self) -> None:
        report = self.take("bullmq", "--queue", "emails", "--execute")["emails"]
        self.assertEqual(report["created"], 11)
        jobs = self.broker.jobs("emails")
        self.assertEqual(
            list(jobs),
            # The one that was put in front, those without priority, those with, later ones.
            [
                "first",
                "welcome",
                "digest",
                "third",
                "once",
                "throttled",
                "own",
                "high",
                "low",
                "lowest",
                "later",
            ],
        )
        self.assertEqual(
            [jobs[name].get("priority", 0) for name in ["first", "high", "low", "lowest"]],
            [0, -2, -7, -1000],
        )
        self.assertEqual(payload(jobs["welcome"]), {"to": "a@example.com", "big": 2**53 - 1})
        self.assertRegex(jobs["welcome"]["name"], "^queues/emails/jobs/bullmq-1-[0-9a-f]{12}$")
        self.assertRegex(jobs["welcome"]["labels"]["imported-from"], "^bullmq/emails/1#")
        self.assertEqual(jobs["welcome"]["retryPolicy"]["maxAttempts"], 1)

        digest = jobs["digest"]
        self.assertEqual(digest["name"], "queues/emails/jobs/digest-2")
        retries = digest["retryPolicy"]
        self.assertEqual(
            [retries[field] for field in ["maxAttempts", "initialBackoff", "multiplier", "jitter"]],
            [5, "1s", 2, 0.5],
        )
        self.assertEqual(digest["retention"]["succeededTtl"], "0s")
        self.assertEqual(digest["retention"]["deadTtl"], "3600s")
        self.assertEqual(digest["retention"]["deadCount"], 10)
        self.assertEqual(jobs["third"]["retryPolicy"]["initialBackoff"], "0.500s")
        self.assertEqual(jobs["third"]["retryPolicy"]["multiplier"], 1)

        key = self.redis.zrange("bull:emails:delayed", 0, 0)[0].decode()
        made = int(self.redis.hget(f"bull:emails:{key}", "timestamp"))
        due = datetime.datetime.fromisoformat(jobs["later"]["scheduleTime"])
        self.assertEqual(round(due.timestamp() * 1000), made + HOUR * 1000)

        again = ["enqueue", "emails", "--dedup-key", "same"]
        self.assertEqual(self.broker.read(*again)["outcome"], "OUTCOME_DEDUPLICATED")
        again = ["enqueue", "emails", "--dedup-key", "same/2"]
        self.assertEqual(self.broker.read(*again)["outcome"], "OUTCOME_DEDUPLICATED")

        warnings = "\n".join(report["warnings"])
        self.assertIn('the backoff "mine" of your own', warnings)
        self.assertIn("lessor queue update emails --max-leased 4", warnings)
        self.assertIn("a priority behind 1000", warnings)
        [command] = report["schedules"]
        schedule = self.broker.shell(command)
        self.assertEqual(schedule["cron"], "0 6 * * *")
        self.assertEqual(schedule["timeZone"], "Europe/Berlin")
        self.assertEqual(payload(schedule["job"]), {"who": "it's me"})

    def test_what_a_worker_has_or_has_ended_is_left_out(self) -> None:
        report = self.take("bullmq", "--queue", "busy", "--execute")["busy"]
        left = {why.split(":")[0]: tally["jobs"] for why, tally in report["leftOut"].items()}
        self.assertEqual(left, {"active": 1, "failed": 1})
        jobs = self.broker.jobs("busy")
        self.assertEqual(set(jobs), {"waits", "retried"})
        # One of three attempts is used up; the next pause would be the second one.
        retries = jobs["retried"]["retryPolicy"]
        self.assertEqual((retries["maxAttempts"], retries["initialBackoff"]), (2, "120s"))
        self.assertEqual(jobs["retried"]["state"], "STATE_SCHEDULED")

    def test_a_paused_queue_is_taken_over_with_a_warning(self) -> None:
        report = self.take("bullmq", "--queue", "paused", "--execute")["paused"]
        self.assertEqual(report["created"], 1)
        self.assertIn("lessor queue pause paused", "".join(report["warnings"]))

    def test_jobs_of_bull_keep_what_they_are(self) -> None:
        report = self.take("bull", "--queue", "web hooks", "--to-queue", "hooks", "--execute")
        self.assertEqual(report["web hooks"]["created"], 5)
        self.assertEqual(
            report["web hooks"]["schedules"],
            [
                "lessor schedule create often hooks --every '1h' --type 'often' --json '{}'",
                "lessor schedule create nightly hooks --cron '0 6 * * *' "
                "--time-zone 'Europe/Berlin' --type 'nightly' --json '{\"n\":6}'",
            ],
        )
        jobs = self.broker.jobs("hooks")
        self.assertEqual(list(jobs), ["high", "low", "", "hook", "later"])
        self.assertEqual([payload(job)["n"] for job in jobs.values()], [5, 4, 1, 2, 3])
        hook = jobs["hook"]
        self.assertRegex(hook["name"], "^queues/hooks/jobs/bull-hook-2-[0-9a-f]{12}$")
        self.assertRegex(hook["labels"]["imported-from"], "^bull/web hooks/hook/2#")
        self.assertEqual(hook["attemptTimeout"], "5s")
        self.assertEqual(hook["retention"]["succeededCount"], 100)
        self.assertEqual(hook["retryPolicy"]["backoffList"], ["1s", "3s", "7s", "15s"])

    def test_a_job_of_bull_goes_on_where_it_was(self) -> None:
        report = self.take("bull", "--queue", "held", "--execute")["held"]
        self.assertEqual([report["created"], len(report["leftOut"])], [1, 1])
        retries = self.broker.jobs("held")["retried"]["retryPolicy"]
        self.assertEqual((retries["maxAttempts"], retries["backoffList"]), (3, ["30s", "70s"]))

    def test_jobs_of_rq_keep_what_they_are(self) -> None:
        report = self.take("rq", "--execute")
        self.assertEqual(list(report), ["documents", "json"])
        documents = report["documents"]
        jobs = self.broker.jobs("documents")
        self.assertEqual(list(jobs), ["app.first", "app.process", "app.expires", "app.later"])

        job = jobs["app.process"]
        self.assertEqual(
            payload(job),
            {
                "args": ["a", 1, [2, True]],
                "kwargs": {"x": None, "y": {"1": 2.5}},
                "meta": {"owner": "ann"},
            },
        )
        self.assertEqual(job["name"], "queues/documents/jobs/upload-1")
        self.assertEqual(job["attemptTimeout"], "1800s")
        self.assertEqual(job["retention"]["succeededTtl"], "3600s")
        self.assertEqual(job["retryPolicy"]["maxAttempts"], 4)
        self.assertEqual(job["retryPolicy"]["backoffList"], ["10s", "10s", "60s"])
        self.assertEqual(jobs["app.first"]["retryPolicy"]["maxAttempts"], 1)
        [(_, due)] = self.redis.zrange("rq:scheduled:documents", 0, 0, withscores=True)
        later = datetime.datetime.fromisoformat(jobs["app.later"]["scheduleTime"])
        self.assertEqual(later.timestamp(), due)
        self.assertIn("expireTime", jobs["app.expires"])

        left = dict(documents["leftOut"])
        object_of_class = left.pop("their arguments hold an object of a class")
        self.assertEqual(object_of_class["examples"], ["dated", "priced"])
        self.assertEqual(left.pop("their arguments hold bytes")["examples"], ["raw"])
        self.assertEqual(
            {why.split(":")[0]: tally["jobs"] for why, tally in left.items()},
            {"active": 1, "deferred": 1},
        )
        self.assertIn("with a callback, which is not taken over", documents["warnings"])

        self.assertEqual(payload(self.broker.jobs("json")["app.plain"])["args"], [{"a": 1}])

    def test_a_second_run_makes_nothing(self) -> None:
        for kind in ["bullmq", "bull", "rq"]:
            first = self.take(kind, "--execute")
            again = self.take(kind) | {
                f"{queue} executed": report
                for queue, report in self.take(kind, "--execute").items()
            }
            for queue, report in again.items():
                with self.subTest(kind=kind, queue=queue):
                    self.assertEqual(report["created"], 0)
                    self.assertEqual(report["refused"], 0)
                    self.assertEqual(report["alreadyThere"], first[report["queue"]]["created"])

    def test_the_next_run_completes_an_interrupted_one(self) -> None:
        command = [LESSOR, "import", "bullmq", "--from", self.url, "--queue", "many", "--execute"]
        interrupted = subprocess.Popen(command, env=self.broker.env, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self.broker.read("queues"):
            self.assertLess(time.monotonic(), deadline)
        interrupted.send_signal(signal.SIGKILL)
        interrupted.wait(PATIENCE)
        before = self.broker.count("many")
        self.assertGreater(before, 0)

        report = self.take("bullmq", "--queue", "many", "--execute")["many"]
        self.assertEqual([report["alreadyThere"], report["created"]], [before, 3000 - before])
        self.assertEqual(self.broker.count("many"), 3000)

    def test_an_id_that_another_job_has_is_refused(self) -> None:
        self.broker.run("enqueue", "emails", "--id", "digest-2")
        report = self.take("bullmq", "--queue", "emails", "--execute", code=4)["emails"]
        self.assertEqual([report["created"], report["refused"]], [10, 1])
        self.assertIn("JOB_EXISTS", report["refusals"][0])

    def test_a_store_without_queues_is_told(self) -> None:
        done = self.broker.attempt("import", "bullmq", "--from", f"{self.url}/5")
        self.assertEqual(done.returncode, 2)
        self.assertIn("look at --prefix", done.stderr)
        self.assertNotIn("secret", done.stderr)


def write_rq(connection: redis.Redis) -> None:
    """Jobs of all kinds, as RQ writes them."""
    queue = Queue("documents", connection=connection)
    queue.enqueue(
        "app.process",
        "a",
        1,
        (2, True),
        x=None,
        y={1: 2.5},
        job_id="upload-1",
        job_timeout="30m",
        result_ttl=HOUR,
        retry=Retry(max=3, interval=[10, 60]),
        meta={"owner": "ann"},
        on_success=Callback("app.done"),
    )
    queue.enqueue("app.expires", ttl=HOUR, repeat=Repeat(times=2))
    queue.enqueue("app.dated", datetime.date(2026, 1, 2), job_id="dated")
    queue.enqueue("app.priced", decimal.Decimal("1.5"), job_id="priced")
    queue.enqueue("app.raw", b"\x00", job_id="raw")
    queue.enqueue_in(datetime.timedelta(hours=1), "app.later")
    first = queue.enqueue("app.first", at_front=True)
    queue.enqueue("app.dependent", depends_on=first)
    connection.zadd(StartedJobRegistry(queue=queue).key, {"running:1": time.time()})
    serializer = JSONSerializer
    Queue("json", connection=connection, serializer=serializer).enqueue("app.plain", {"a": 1})


def payload(job: dict):
    return json.loads(base64.b64decode(job["payload"]["data"]))


if __name__ == "__main__":
    unittest.main()
