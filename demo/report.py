"""What the run shows: a bar while it works, tables when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from outcome import Outcome, Times

SHOWN_PROBLEMS = 10
# Without a terminal there is no bar to redraw: that many lines are printed instead.
LINES_WITHOUT_TERMINAL = 10


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Shows how far the jobs are; the function it gives is to be called for each."""
    if not console.is_terminal:
        yield counting_lines(console, total)
        return
    columns = TextColumn("jobs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("jobs", total=total)
        yield lambda: bar.advance(task)


def counting_lines(console: Console, total: int) -> Callable[[], None]:
    done = 0
    step = math.ceil(total / LINES_WITHOUT_TERMINAL)

    def advance() -> None:
        nonlocal done
        done += 1
        if done % step == 0 or done == total:
            console.print(f"  {done} of {total} jobs")

    return advance


def show(console: Console, outcome: Outcome) -> None:
    console.print(workers_table(outcome), times_table(outcome))
    if (rescue := outcome.rescue) is not None:
        console.print(
            Text(
                f"{rescue.killed} was killed in the middle of {rescue.path}; {rescue.seconds:.1f} s"
                f" later {rescue.finished_by} got it, on delivery {rescue.deliveries}."
            )
        )
    for problem in outcome.problems[:SHOWN_PROBLEMS]:
        console.print(Text(f"✗ {problem}", style="red"))
    if (more := len(outcome.problems) - SHOWN_PROBLEMS) > 0:
        console.print(Text(f"✗ and {more} more", style="red"))
    if not outcome.problems:
        console.print(
            Text(f"✓ every digest is the one of sha256sum: {outcome.identical}", style="green")
        )


def workers_table(outcome: Outcome) -> Table:
    table = Table(title="Workers")
    for heading in ("language", "worker"):
        table.add_column(heading, no_wrap=True)
    for heading in ("jobs", "bytes", "leases lost"):
        table.add_column(heading, justify="right")
    table.add_column("end")
    for worker in outcome.workers:
        table.add_row(
            worker.language,
            worker.worker_id,
            str(worker.jobs),
            f"{worker.bytes:,}",
            str(worker.leases_expired),
            worker.end,
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        str(sum(worker.jobs for worker in outcome.workers)),
        f"{sum(worker.bytes for worker in outcome.workers):,}",
        str(sum(worker.leases_expired for worker in outcome.workers)),
        f"{outcome.requeues} requeued",
    )
    return table


def times_table(outcome: Outcome) -> Table:
    table = Table(title=f"jobs: {outcome.files}, deliveries: {outcome.deliveries}")
    table.add_column("milliseconds")
    for heading in ("p50", "p95", "max"):
        table.add_column(heading, justify="right")
    for name, times in (("wait for a worker", outcome.wait), ("run", outcome.run)):
        table.add_row(name, *milliseconds(times))
    return table


def milliseconds(times: Times | None) -> list[str]:
    if times is None:
        return ["–"] * 3
    return [f"{seconds * 1000:.1f}" for seconds in (times.p50, times.p95, times.max)]
