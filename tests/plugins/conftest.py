"""The CalDAV door over a real worker, for every test of requests."""

from __future__ import annotations

import pytest
from davdoor import Door


@pytest.fixture
def dav() -> Door:
    return Door()
