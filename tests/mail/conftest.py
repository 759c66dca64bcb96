"""A domain, senders and servers for every test of the mail door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mailkit import BOB, TASKS, Bed, Desk, MailHouse, Post, missing_parts, running_bed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def post(tmp_path_factory: pytest.TempPathFactory) -> Post:
    return Post(tmp_path_factory.mktemp("post"))


@pytest.fixture
def house() -> MailHouse:
    house = MailHouse()
    house.add_user(BOB)
    house.add_user(TASKS)
    return house


@pytest.fixture
def desk(house: MailHouse, post: Post) -> Desk:
    return Desk(house, post.anchors)


@pytest.fixture(scope="session")
def session_bed() -> Iterator[Bed]:
    reason = missing_parts()
    if reason:
        pytest.skip(reason)
    with running_bed() as bed:
        yield bed


@pytest.fixture
def bed(session_bed: Bed) -> Bed:
    session_bed.empty()
    return session_bed
