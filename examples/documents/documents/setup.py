"""The settings of the queues and the schedules of the clean-ups: `python -m documents.setup`.

It may run as often as wanted. The API runs it when it starts.
"""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from lessor import AlreadyExists, Backoff, Client, NewJob, Retention
from lessor.v1 import admin_pb2

from documents.settings import CLEANUP, DOCUMENTS

MAX_AGE_DAYS = 30
#: When, in UTC. The names are those of the verbs in the Makefile.
SCHEDULES = {
    "cleanup-s3": ("0 */6 * * *", "cleanup_s3"),
    "cleanup-orphaned": ("30 3 * * *", "cleanup_orphaned"),
    "cleanup-daily": ("0 2 * * *", "cleanup_daily"),
}


def set_up(client: Client) -> None:
    """Makes the queues and schedules, or sees to it that they are as they should be."""
    documents = admin_pb2.Queue(
        name=DOCUMENTS,
        attempt_timeout=timedelta(minutes=30),
        retry_policy=Backoff(3, initial=2, longest=600).to_message(),
        retention=Retention(
            succeeded_ttl=timedelta(days=MAX_AGE_DAYS), succeeded_count=-1, dead_count=500
        ).to_message(),
        health=admin_pb2.HealthThresholds(max_ready=1000, max_dead_ratio=0.1),
    )
    mask = ["attempt_timeout", "retry_policy", "retention", "health"]
    request = admin_pb2.UpdateQueueRequest(queue=documents, update_mask=FieldMask(paths=mask))
    client.call("UpdateQueue", request)
    client.call("UpdateQueue", admin_pb2.UpdateQueueRequest(queue=admin_pb2.Queue(name=CLEANUP)))
    for name, (cron, job_type) in SCHEDULES.items():
        job = NewJob(CLEANUP, {"max_age_days": MAX_AGE_DAYS}, type=job_type).request
        schedule = admin_pb2.Schedule(
            name=f"schedules/{name}", cron=cron, job=job, overlap=admin_pb2.Schedule.OVERLAP_SKIP
        )
        try:
            client.call(
                "CreateSchedule",
                admin_pb2.CreateScheduleRequest(schedule=schedule, schedule_id=name),
            )
        except AlreadyExists:
            fields = FieldMask(paths=["cron", "job", "overlap"])
            client.call(
                "UpdateSchedule",
                admin_pb2.UpdateScheduleRequest(schedule=schedule, update_mask=fields),
            )


if __name__ == "__main__":
    with Client() as broker:
        set_up(broker)
