from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import LEASE, Broker, Relay

from lessor import Client, Worker

_numbers = itertools.count(1)

MakeWorker = Callable[..., Worker]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that most tests share."""
    broker = Broker(tmp_path_factory.mktemp("broker"), "sqlite::memory:")
    yield broker
    broker.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that may be ended and started again."""
    broker = Broker(tmp_path, f"sqlite:{tmp_path / 'jobs.db'}", "--synchronous", "normal")
    yield broker
    if broker.program.process.poll() is None:
        broker.stop()


@pytest.fixture
def relay(broker: Broker) -> Iterator[Relay]:
    """A breakable way to the shared broker."""
    relay = Relay(broker.address)
    yield relay
    relay.close()


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A queue of the test's own."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_scenario_"))
    return f"{name}-{next(_numbers)}"


@pytest.fixture
def client(broker: Broker) -> Iterator[Client]:
    with Client(broker.address) as client:
        yield client


@pytest.fixture
def make_worker(broker: Broker, queue: str) -> Iterator[MakeWorker]:
    """Makes workers that are ended with the test."""
    workers: list[Worker] = []

    def make(queues: Any = None, url: str | None = None, **options: Any) -> Worker:
        settings = {"lease_duration": LEASE, "grace": 30, "stop_grace": 1} | options
        worker = Worker(queues or queue, url or broker.address, **settings)
        workers.append(worker)
        return worker

    yield make
    for worker in workers:
        worker.close()
