"""Gateways on disk, senders with certificates, and the test bed of Postfix and Dovecot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from journeys.gatewaykit import BOB, Gateway
from mailkit import Bed, Post, missing_parts, running_bed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def post(tmp_path_factory: pytest.TempPathFactory) -> Post:
    return Post(tmp_path_factory.mktemp("post"))


@pytest.fixture(scope="session")
def session_bed() -> Iterator[Bed]:
    reason = missing_parts()
    if reason:
        pytest.skip(reason)
    with running_bed() as bed:
        yield bed


@pytest.fixture
def bed(session_bed: Bed) -> Bed:
    for user in ("tasks@home.example", "bob@home.example", "alice@sender.example"):
        session_bed.empty(user)
    return session_bed


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Return a domain with one user, not yet served; whatever runs at the end is ended."""
    made = Gateway(tmp_path)
    made.add_user(BOB)
    yield made
    made.close()
