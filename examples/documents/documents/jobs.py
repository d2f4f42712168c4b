"""What the workers do. A document may be begun by one worker and finished by another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TextIO

from lessor import Client, LeasedJob, NotFound, Reject
from lessor.v1 import admin_pb2

from documents.settings import DOCUMENTS, FOLDER
from documents.storage import RESULTS, UPLOADS, Storage

PAGE_END = "\f"
#: An upload may be older than the request to process it; after this long, none will come.
ORPHAN_AGE = timedelta(hours=1)

storage = Storage(FOLDER)
client = Client()


def process_document(job: LeasedJob) -> dict[str, object]:
    """Counts the words of each page. An attempt goes on after the last page of the one before."""
    request = job.payload.json()
    pages = job.checkpoint.json() if job.checkpoint else []
    read = 0
    try:
        with storage.open(UPLOADS, job.id) as file:
            for number, page in enumerate(split(file), 1):
                job.check()
                read += len(page.encode())
                if number > len(pages):
                    pages.append({"words": len(page.split()), "worker": job.worker_id})
                    job.save_checkpoint(pages).result(10)
                percent = min(100 * read / max(request["size"], 1), 100)
                job.progress(percent, f"page {number}")
    except FileNotFoundError:
        raise Reject("there is no such upload any more", code="UPLOAD_GONE") from None
    except UnicodeDecodeError as error:
        raise Reject(f"this is no text: {error.reason}", code="BAD_DOCUMENT") from None
    # The result itself may be large, so the job has its place only.
    storage.put(RESULTS, job.id, json.dumps({"name": request["name"], "pages": pages}))
    words = sum(page["words"] for page in pages)
    return {"result": f"{RESULTS}/{job.id}", "pages": len(pages), "words": words}


def split(file: TextIO) -> Iterator[str]:
    """The pages of a text. They end with a form feed on a line of its own."""
    lines: list[str] = []
    for line in file:
        if line.strip(" \r\n") == PAGE_END:
            yield "".join(lines)
            lines = []
        else:
            lines.append(line)
    if lines:
        yield "".join(lines)


def cleanup_s3(job: LeasedJob) -> dict[str, int]:
    """Removes uploads of old documents that are finished, one way or the other."""
    age = timedelta(days=job.payload.json()["max_age_days"])
    return {"removed": _remove(job, age, without_job=False)}


def cleanup_orphaned(job: LeasedJob) -> dict[str, int]:
    """Removes uploads and results that no job knows of."""
    return {"removed": _remove(job, ORPHAN_AGE, without_job=True)}


def cleanup_daily(job: LeasedJob) -> dict[str, int]:
    """Forgets old finished documents, and removes what is left of them."""
    age = timedelta(days=job.payload.json()["max_age_days"])
    removed = _remove(job, age, without_job=False)
    forgotten = 0
    for state in ("STATE_SUCCEEDED", "STATE_DEAD", "STATE_CANCELLED"):
        request = admin_pb2.PurgeJobsRequest(queue=DOCUMENTS, state=state, older_than=age)
        while purged := client.call("PurgeJobs", request).purged:
            forgotten += purged
            job.check()
    return {"removed": removed + _remove(job, age, without_job=True), "forgotten": forgotten}


def _remove(job: LeasedJob, age: timedelta, *, without_job: bool) -> int:
    removed = 0
    for prefix in (UPLOADS, RESULTS) if without_job else (UPLOADS,):
        for key in storage.older_than(prefix, age.total_seconds()):
            job.check()
            try:
                is_due = client.get(f"queues/{DOCUMENTS}/jobs/{key}").state.is_final
                is_due = is_due and not without_job
            except NotFound:
                is_due = without_job
            if is_due:
                storage.delete(prefix, key)
                removed += 1
    return removed
