"""One domain with its worker, for every test of commands."""

from __future__ import annotations

import pytest
from house import HOME, House, actor

from bridge.worker.command import CreateProject


@pytest.fixture
def house() -> House:
    house = House()
    house.done(CreateProject(actor=actor(), project=HOME))
    return house
