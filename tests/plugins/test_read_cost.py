"""Everyday requests read what they answer with, whatever the size of the project.

Counted is the work of SQLite's virtual machine, instruction by instruction, and the
statements: figures that do not depend on the machine, so equal means equal.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from davdoor import D, Door, vtodo
from house import HOME, actor

from bridge.model.ids import task_id
from bridge.worker.command import CreateTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PERSONAL = "/dav/alice%40home.example/personal/"
SMALL, LARGE = 10, 2_000


@dataclass
class Cost:
    """Work of one request on the index."""

    statements: int = 0
    steps: int = 0


@contextmanager
def measured(dav: Door) -> Iterator[Cost]:
    connection = dav.house.stores.index._db._connection()  # type: ignore[attr-defined]  # the test's look inside
    cost = Cost()

    def step() -> int:
        cost.steps += 1
        return 0

    def statement(_text: str) -> None:
        cost.statements += 1

    connection.set_progress_handler(step, 1)
    connection.set_trace_callback(statement)
    try:
        yield cost
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_trace_callback(None)


def filled(size: int) -> Door:
    dav = Door()
    dav.put("fixed.ics", vtodo("fixed"))
    dav.put("gone.ics", vtodo("gone"))
    for start in range(1, size, 64):
        dav.house.worker.run(
            [
                CreateTask(
                    actor=actor(),
                    task=task_id(uuid.UUID(int=number), HOME),
                    keys={"description": f"Task {number}"},
                )
                for number in range(start, min(start + 64, size))
            ]
        )
    # The worker remembers the tasks it touched last: both start with none remembered.
    dav.house.worker._commit.forget_states()
    return dav


@pytest.fixture(scope="module")
def sizes() -> tuple[Door, Door]:
    return filled(SMALL), filled(LARGE)


def token(dav: Door) -> str:
    reply = dav.propfind(PERSONAL, "<D:sync-token/>")
    return reply.props()[D + "sync-token"].text or ""


def put_new(dav: Door) -> None:
    assert dav.put("new.ics", vtodo("new"), if_none_match="*").status == 201


def overwrite(dav: Door) -> None:
    assert dav.put("fixed.ics", vtodo("fixed", summary="Changed")).status == 204


def get(dav: Door) -> None:
    assert dav("GET", f"{PERSONAL}fixed.ics").status == 200


def ctag_poll(dav: Door) -> None:
    assert token(dav)


def sync_nothing(dav: Door) -> None:
    assert dav.sync(token=token(dav)).members() == {}


def multiget(dav: Door) -> None:
    body = (
        '<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop>'
        f"<C:calendar-data/></D:prop><D:href>{PERSONAL}fixed.ics</D:href></C:calendar-multiget>"
    )
    assert len(dav.report("personal", body).members()) == 1


def delete(dav: Door) -> None:
    assert dav("DELETE", f"{PERSONAL}gone.ics").status == 204


@pytest.mark.parametrize(
    "request_", [put_new, overwrite, get, ctag_poll, sync_nothing, multiget, delete]
)
def test_an_everyday_request_costs_the_same_in_a_large_project(
    sizes: tuple[Door, Door], request_: Callable[[Door], None]
) -> None:
    costs = []
    for dav in sizes:
        token(dav)
        with measured(dav) as cost:
            request_(dav)
        costs.append(cost)
    assert costs[0].statements > 0
    assert costs[0] == costs[1]


def test_a_sync_after_one_change_reads_that_change(sizes: tuple[Door, Door]) -> None:
    costs = []
    for dav in sizes:
        known = token(dav)
        dav.put("fixed.ics", vtodo("fixed", summary=f"At {known}"))
        with measured(dav) as cost:
            assert len(dav.sync(token=known).members()) == 1
        costs.append(cost)
    assert costs[0] == costs[1]


def test_the_measure_notices_a_listing(sizes: tuple[Door, Door]) -> None:
    costs = []
    for dav in sizes:
        with measured(dav) as cost:
            dav.sync()
        costs.append(cost)
    assert costs[1].steps > 10 * costs[0].steps
