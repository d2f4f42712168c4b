"""The application: upload, process, ask. It does no work itself and never waits for a worker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from lessor import (
    AlreadyExists,
    AsyncClient,
    Client,
    FailedPrecondition,
    Job,
    JobState,
    LessorError,
    NotFound,
    Unavailable,
    WaitTimeout,
)
from lessor.v1 import admin_pb2, broker_pb2
from pydantic import BaseModel, Field

from documents.settings import DOCUMENTS, FOLDER, QUEUES
from documents.setup import SCHEDULES, set_up
from documents.storage import UPLOADS, Storage

storage = Storage(FOLDER)
broker = AsyncClient()

#: The words of Redis Queue, which the users of this API know.
WORDS = {
    JobState.SCHEDULED: "scheduled",
    JobState.READY: "queued",
    JobState.LEASED: "started",
    JobState.RETRYING: "scheduled",
    JobState.BLOCKED: "deferred",
    JobState.SUCCEEDED: "finished",
    JobState.DEAD: "failed",
    JobState.CANCELLED: "canceled",
    JobState.EXPIRED: "failed",
}
STATUS = {NotFound: 404, FailedPrecondition: 409, AlreadyExists: 409, Unavailable: 503}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """From the settings of the queues to the end of the connection."""
    with Client() as client:
        await asyncio.to_thread(set_up, client)
    yield
    await broker.close()


app = FastAPI(title="Documents", lifespan=lifespan)


@app.exception_handler(LessorError)
async def told(_: Request, error: LessorError) -> JSONResponse:
    """What the broker refuses, in the words of HTTP."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error), "reason": error.reason}, status)


class NewProcess(BaseModel):
    """What to do with an upload."""

    upload_id: uuid.UUID
    name: str = "document"
    priority: int = Field(default=0, ge=-1000, le=1000)


@app.post("/documents/upload", status_code=201)
async def upload() -> dict[str, str]:
    """Says where to put a document: the broker never sees it."""
    upload_id = str(uuid.uuid4())
    return {"upload_id": upload_id, "upload_url": f"/files/{upload_id}", "status": "created"}


@app.put("/files/{upload_id}", status_code=204)
async def put_file(upload_id: uuid.UUID, request: Request) -> None:
    """Stands for the presigned URL of an object store."""
    await storage.put_stream(UPLOADS, str(upload_id), request.stream())


@app.post("/documents/process", status_code=202)
async def process(what: NewProcess) -> dict[str, Any]:
    """Enqueues an upload. The job has its id, so doing this twice does it once."""
    upload_id = str(what.upload_id)
    try:
        size = storage.size(UPLOADS, upload_id)
    except FileNotFoundError:
        raise HTTPException(404, "nothing was uploaded under this id") from None
    payload = {"name": what.name, "size": size}
    try:
        enqueued = await broker.enqueue(
            DOCUMENTS, payload, type="process_document", job_id=upload_id, priority=what.priority
        )
        job = enqueued.job
    except AlreadyExists:
        job = await broker.get(name_of(upload_id))
    return {"job_id": job.id, "status": WORDS[job.state], "estimated_time": await estimate(job)}


@app.get("/documents/{document_id}")
async def status(document_id: uuid.UUID, wait: float = Query(0, ge=0, le=30)) -> dict[str, Any]:
    """How far a document is; `wait` so many seconds for its end instead of asking again."""
    name = name_of(document_id)
    try:
        job = await (broker.wait(name, wait) if wait else broker.get(name))
    except WaitTimeout as still:
        job = still.job
    progress = 100.0 if job.state is JobState.SUCCEEDED else job.progress and job.progress.percent
    failure = job.last_failure if job.state is not JobState.SUCCEEDED else None
    return {
        "job_id": job.id,
        "status": WORDS[job.state],
        "progress": progress or 0.0,
        "attempt": job.attempt,
        "result": job.result.json() if job.result else None,
        "error": f"{failure.code}: {failure.message}" if failure else None,
    }


@app.post("/documents/{document_id}/cancel")
async def cancel(document_id: uuid.UUID) -> dict[str, str]:
    """Calls a document off, wherever it is."""
    job = await broker.cancel(name_of(document_id), "by its user")
    return {"job_id": job.id, "status": WORDS[job.state]}


@app.post("/documents/{document_id}/retry")
async def retry(document_id: uuid.UUID) -> dict[str, str]:
    """Gives a failed or cancelled document another life."""
    request = admin_pb2.JobActionRequest(name=name_of(document_id), reason="by its user")
    job = Job(await broker.call("RetryJob", request))
    return {"job_id": job.id, "status": WORDS[job.state]}


@app.get("/queue/info")
async def queue_info() -> list[dict[str, Any]]:
    """All queues."""
    return [await counts(name) for name in QUEUES]


@app.get("/queue/info/{name}")
async def one_queue(name: Literal["document_processing", "cleanup_tasks"]) -> dict[str, Any]:
    """One of them."""
    return await counts(name)


async def counts(name: str) -> dict[str, Any]:
    """What `rq info` counts."""
    stats = await stats_of(name)
    return {
        "name": name,
        "length": stats.ready,
        "failed_count": stats.dead,
        "started_count": stats.leased,
        "finished_count": stats.succeeded,
        "deferred_count": stats.blocked,
        "scheduled_count": stats.scheduled + stats.retrying,
        "healthy": stats.healthy,
        "reasons": list(stats.unhealthy_reasons),
    }


@app.post("/queue/cleanup/{kind}", status_code=202)
async def clean_up(kind: Literal["s3", "orphaned", "daily"]) -> dict[str, str]:
    """Cleans up now, besides the times at which the broker does so."""
    name = f"cleanup-{kind}"
    assert name in SCHEDULES
    request = admin_pb2.ScheduleActionRequest(name=f"schedules/{name}")
    job = Job(await broker.call("TriggerSchedule", request))
    return {"job_id": job.id, "status": WORDS[job.state]}


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether the broker answers."""
    store = await broker.call("GetStoreStatus", admin_pb2.GetStoreStatusRequest(), timeout=2)
    return {"status": "ok" if store.ready else "unavailable", "store": store.store}


def name_of(document_id: uuid.UUID | str) -> str:
    """The job of a document."""
    return f"queues/{DOCUMENTS}/jobs/{document_id}"


async def stats_of(queue: str) -> admin_pb2.QueueStats:
    """The numbers of a queue."""
    request = admin_pb2.GetQueueStatsRequest(name=queue)
    stats: admin_pb2.QueueStats = await broker.call("GetQueueStats", request)
    return stats


async def estimate(job: Job) -> str:
    """When it will be done, by what the queue does at present."""
    why, stats = await asyncio.gather(
        broker.call("ExplainJob", broker_pb2.GetJobRequest(name=job.name)), stats_of(DOCUMENTS)
    )
    if not stats.HasField("run_p50"):
        return "unknown"
    wait: timedelta = why.estimated_wait.ToTimedelta()
    soon, late = wait + stats.run_p50.ToTimedelta(), wait + stats.run_p95.ToTimedelta()
    if late < timedelta(minutes=2):
        return "less than 2 minutes"
    return f"{soon // timedelta(minutes=1)}-{late // timedelta(minutes=1) + 1} minutes"
