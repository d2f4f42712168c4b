from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from lessor import Client
from lessor.v1 import admin_pb2
from programs import HERE, Site

TWO_PAGES = "One two three.\n\f\nFour five.\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def test_a_document_is_uploaded_processed_and_asked_for(site: Site) -> None:
    document = site.upload(TWO_PAGES)
    accepted = site.process(document)
    assert accepted == {"job_id": document, "status": "queued", "estimated_time": "unknown"}
    # A second request, from a caller who did not hear the answer, is the same document.
    assert site.process(document)["job_id"] == document
    assert site.call("GET", f"/documents/{document}")["status"] == "queued"
    worker = site.worker("--name", "production-worker-1")
    ended = site.end(document)
    assert (ended["status"], ended["progress"], ended["attempt"]) == ("finished", 100.0, 1)
    place = f"results/{document}"
    assert ended["result"] == {"result": place, "pages": 2, "words": 5}
    pages = json.loads((site.folder / place).read_text())["pages"]
    assert [page["words"] for page in pages] == [3, 2]
    info = site.call("GET", "/queue/info/document_processing")
    assert (info["length"], info["finished_count"], info["failed_count"]) == (0, 1, 0)
    # Now it is known how long documents take.
    assert site.process(site.upload("again"))["estimated_time"] == "less than 2 minutes"
    assert worker.stop() == 0


def test_a_document_of_a_killed_worker_is_finished_by_the_next(site: Site) -> None:
    document = site.upload(TWO_PAGES)
    upload = site.folder / "uploads" / document
    site.process(document)
    # The second page does not come: the first worker is in the midst of it.
    upload.unlink()
    os.mkfifo(upload)
    first = site.worker("--name", "first")
    with Client(site.server) as client, upload.open("w") as pipe:
        watch = client.watch(queues=["document_processing"], types=["JOB_PROGRESS"], oldest=True)
        pipe.write(TWO_PAGES.partition("Four")[0])
        pipe.flush()
        assert next(watch).job.endswith(document)
        first.kill()
    upload.unlink()
    upload.write_text(TWO_PAGES)
    site.worker("--name", "second")
    ended = site.end(document)
    assert (ended["status"], ended["attempt"], ended["result"]["words"]) == ("finished", 2, 5)
    pages = json.loads((site.folder / ended["result"]["result"]).read_text())["pages"]
    # The first page was not done again.
    assert len({page["worker"] for page in pages}) == 2


def test_a_cancelled_document_may_be_tried_again(site: Site) -> None:
    document = site.upload(TWO_PAGES)
    site.process(document)
    cancelled = site.call("POST", f"/documents/{document}/cancel")
    assert cancelled["status"] == "canceled"
    site.worker()
    again = site.call("POST", f"/documents/{document}/retry")
    assert again["status"] == "queued"
    assert site.end(document)["status"] == "finished"
    assert site.call("POST", f"/documents/{document}/retry") == 409


def test_a_document_that_cannot_be_read_fails_for_good(site: Site) -> None:
    document = site.upload(b"\xff\xfe no text")
    site.process(document)
    site.worker()
    ended = site.end(document)
    assert (ended["status"], ended["attempt"]) == ("failed", 1)
    assert ended["error"].startswith("BAD_DOCUMENT: this is no text")
    other = str(uuid.uuid4())
    assert site.process(other) == 404
    assert site.call("GET", f"/documents/{other}") == 404


def test_clean_ups_run_by_schedule_and_by_hand(site: Site) -> None:
    with Client(site.server) as client:
        answer = client.call("ListSchedules", admin_pb2.ListSchedulesRequest())
        crons = {one.name.removeprefix("schedules/"): one.cron for one in answer.schedules}
        assert crons["cleanup-daily"] == "0 2 * * *"
        kept, orphan, fresh = (site.upload(TWO_PAGES) for _ in range(3))
        site.process(kept)
        two_hours_ago = time.time() - 7200
        for document in (kept, orphan):
            os.utime(site.folder / "uploads" / document, (two_hours_ago, two_hours_ago))
        # Documents wait: this worker has nothing to do with them.
        site.worker("--queues", "cleanup_tasks")
        assert run_by(site, client, "cleanup-orphaned") == {"removed": 1}
        assert {path.name for path in (site.folder / "uploads").iterdir()} == {kept, fresh}
        site.worker()
        assert site.end(kept)["status"] == "finished"
        long_ago = time.time() - 31 * 86400
        os.utime(site.folder / "uploads" / kept, (long_ago, long_ago))
        assert run_by(site, client, "cleanup-s3") == {"removed": 1}
        assert run_by(site, client, "cleanup-daily") == {"removed": 0, "forgotten": 0}
        # With no age at all nothing is left, of the finished document or of what nobody asked for.
        daily = client.enqueue("cleanup_tasks", {"max_age_days": 0}, type="cleanup_daily")
        assert result_of(client, daily.name) == {"removed": 2, "forgotten": 1}
        assert site.call("GET", f"/documents/{kept}") == 404
        job = site.call("POST", "/queue/cleanup/s3")
        assert result_of(client, f"queues/cleanup_tasks/jobs/{job['job_id']}") == {"removed": 0}


def run_by(site: Site, client: Client, verb: str) -> object:
    """The result of the job that a verb makes."""
    [job] = json.loads(site.make(verb))
    return result_of(client, job["name"])


def result_of(client: Client, job: str) -> object:
    done = client.wait(job, 20)
    assert done.result is not None
    return done.result.json()


def test_the_verbs_tell_of_the_queues(site: Site) -> None:
    site.process(site.upload(TWO_PAGES))
    told = json.loads(site.make("queue-info"))
    ready = {one["queue"]["name"]: one["stats"].get("ready", "0") for one in told}
    assert ready == {"document_processing": "1", "cleanup_tasks": "0"}
    assert site.call("GET", "/health") == {"status": "ok", "store": "sqlite"}
    worker = site.python("documents.worker", "--all", "--verbose")
    site.workers.append(worker)
    assert json.loads(worker.says(r"\{.*started.*")[0])["job_type"] == "process_document"
    site.make("queue-health")


def test_the_demo_is_one_command(tmp_path: Path) -> None:
    settings = {"DOCUMENTS_FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "documents.demo"],
        cwd=HERE,
        env={k: v for k, v in os.environ.items() if k != "LESSOR_SERVER"} | settings,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert '"status": "finished"' in done.stdout
    assert '"words": 10' in done.stdout
