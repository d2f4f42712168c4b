"""A broker for all tests, and a queue for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lessor.v1.admin_pb2_grpc import JobBrokerAdminStub
from lessor.v1.broker_pb2_grpc import JobBrokerStub

from calls import connect
from support import Broker, Relay

IN_MEMORY = ("--store", "sqlite::memory:")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), *IN_MEMORY) as broker:
        yield broker


@pytest.fixture(scope="session")
def stub(broker: Broker) -> Iterator[JobBrokerStub]:
    """The calls of producers and workers."""
    with connect(broker.address) as channel:
        yield JobBrokerStub(channel)


@pytest.fixture(scope="session")
def admin(broker: Broker) -> Iterator[JobBrokerAdminStub]:
    """The calls of operators."""
    with connect(broker.address) as channel:
        yield JobBrokerAdminStub(channel)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A queue of the test's own."""
    return re.sub(r"\W+", "-", request.node.name.removeprefix("test_scenario_"))


@pytest.fixture
def relay(broker: Broker) -> Iterator[Relay]:
    """A breakable way to the broker."""
    relay = Relay(broker.address)
    yield relay
    relay.close()


@pytest.fixture
def breakable(relay: Relay) -> Iterator[JobBrokerStub]:
    """The calls, over that way."""
    with connect(relay.address) as channel:
        yield JobBrokerStub(channel)


@pytest.fixture
def own_store(tmp_path: Path) -> tuple[str, str]:
    """Options of a broker whose jobs outlive it."""
    return "--store", f"sqlite:{tmp_path / 'jobs.db'}"
