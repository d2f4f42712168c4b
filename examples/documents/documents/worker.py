"""The worker process: `python -m documents.worker --queues cleanup_tasks`, or `--all`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from lessor import JsonFormatter, LeasedJob, Worker

from documents import jobs
from documents.settings import CLEANUP, CONCURRENCY, DOCUMENTS, LEASE, QUEUES

HANDLERS: dict[str, list[Callable[[LeasedJob], object]]] = {
    DOCUMENTS: [jobs.process_document],
    CLEANUP: [jobs.cleanup_s3, jobs.cleanup_orphaned, jobs.cleanup_daily],
}


def main() -> None:
    """Works until it is told to end; then it finishes what it has."""
    parser = argparse.ArgumentParser(description="Work on documents.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--queues", nargs="+", choices=QUEUES, default=[DOCUMENTS])
    which.add_argument("--all", action="store_const", dest="queues", const=list(QUEUES))
    parser.add_argument("--name", default="", help="what operators call it")
    parser.add_argument("--verbose", action="store_true", help="log each job")
    options = parser.parse_args()
    log = logging.StreamHandler()
    log.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[log], level=logging.WARNING)
    logging.getLogger("lessor").setLevel(logging.DEBUG if options.verbose else logging.WARNING)

    worker = Worker(
        options.queues,
        concurrency=CONCURRENCY,
        display_name=options.name,
        lease_duration=LEASE,
    )
    for queue in options.queues:
        for handler in HANDLERS[queue]:
            worker.handle(handler.__name__, handler)
    print(f"working on {', '.join(options.queues)}", flush=True)
    worker.run()


if __name__ == "__main__":
    main()
