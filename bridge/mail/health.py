"""How a connector is doing, for `doctor`, the web page and ``/healthz`` (design section 2)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class State(StrEnum):
    """States of a connector: works, works badly and tries again, does not work."""

    STARTING = "starting"
    ACTIVE = "active"
    DEGRADED = "degraded"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One connector as last seen; times in UTC."""

    name: str
    state: State = State.STARTING
    last_heartbeat: datetime | None = None
    last_error: str = ""
    failures: int = 0
    """Failures in a row; 0 while it works."""


BLOCKED_AFTER = 5
"""Failures in a row after which a person should look."""


class Pulse:
    """Where one connector notes how it is doing; read from any thread."""

    def __init__(self, name: str, clock: Callable[[], datetime]) -> None:
        """Start unknown."""
        self._clock = clock
        # Written by the event loop and by threads that take mail, read by HTTP threads.
        self._lock = threading.Lock()
        self._health = Health(name=name)

    def read(self) -> Health:
        """Return the present state."""
        with self._lock:
            return self._health

    def beat(self) -> None:
        """Note that it works."""
        with self._lock:
            self._health = replace(
                self._health, state=State.ACTIVE, last_heartbeat=self._clock(), failures=0
            )

    def fail(self, error: str) -> int:
        """Note a failure and return how many there were in a row."""
        with self._lock:
            failures = self._health.failures + 1
            state = State.BLOCKED if failures >= BLOCKED_AFTER else State.DEGRADED
            self._health = replace(
                self._health, state=state, last_error=error[:500], failures=failures
            )
            return failures
