"""Login with app passwords, and a brake for those who guess.

Requests without credentials are no failures: clients send the first of every kind so. Wrong
passwords cost what right ones cost (`bridge.trust.passwords`), with no added delay; after
too many in a minute from one address, only logins that worked before are looked at and all
others hear 503: every 4xx makes some client forget its account.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

from radicale.auth import AuthContext, BaseAuth

from bridge.errors import Unavailable

if TYPE_CHECKING:
    from datetime import datetime

    from radicale.config import Configuration

    from bridge.caldav.call import Door
    from bridge.trust.passwords import Passwords
    from bridge_radicale.visit import Visits

_MINUTE: Final = 60.0
_SOURCES_MAX: Final = 10_000


class Brake:
    """Counts wrong passwords by address over a minute; safe for threads."""

    def __init__(self, a_minute: int) -> None:
        """Allow `a_minute` failures."""
        self._most = a_minute
        # Held for dictionary work only.
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()

    def holds(self, source: str, login: str, now: datetime) -> bool:
        """Tell whether a login from `source` is turned away unseen."""
        with self._lock:
            if (source, login) in self._welcome:
                return False
            failures = self._failures.get(source)
            if failures is None:
                return False
            while failures and now.timestamp() - failures[0] > _MINUTE:
                failures.popleft()
            return len(failures) >= self._most

    def failed(self, source: str, login: str, now: datetime) -> None:
        """Count a wrong password; who guesses for a known login loses its welcome."""
        with self._lock:
            failures = self._failures.setdefault(source, deque(maxlen=self._most))
            failures.append(now.timestamp())
            self._failures.move_to_end(source)
            if len(failures) == self._most:
                self._welcome.pop((source, login), None)
            while len(self._failures) > _SOURCES_MAX:
                self._failures.popitem(last=False)

    def worked(self, source: str, login: str) -> None:
        """Remember a login that worked."""
        with self._lock:
            self._welcome[(source, login)] = None
            self._welcome.move_to_end((source, login))
            while len(self._welcome) > _SOURCES_MAX:
                self._welcome.popitem(last=False)


def is_basic(header: str) -> bool:
    """Tell whether an Authorization header is one that Radicale can take apart."""
    scheme, _, value = header.partition(" ")
    if scheme != "Basic":
        return False
    try:
        return ":" in base64.b64decode(value.strip().encode("ascii"), validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return False


class Auth(BaseAuth):
    """Radicale's auth interface over the app passwords."""

    def __init__(
        self, configuration: Configuration, door: Door, passwords: Passwords, visits: Visits
    ) -> None:
        """Check with `passwords`; who came is noted in `visits`."""
        super().__init__(configuration)
        self._door = door
        self._passwords = passwords
        self._visits = visits
        self._brake = Brake(door.settings.failures_a_minute)

    def _login_ext_with_groups(
        self, login: str, password: str, context: AuthContext
    ) -> tuple[str, set[Any]]:
        source = str(context.remote_addr or "")
        now = self._door.gateway.clock()
        if self._brake.holds(source, login, now):
            raise Unavailable("busy", "too many wrong passwords, try again in a minute", retry=True)
        credential = self._passwords.check(login, password, now)
        if credential is None:
            self._brake.failed(source, login, now)
            return "", set()
        self._brake.worked(source, login)
        self._visits.now.credential = credential
        return credential.user, set()

    def _sleep_for_constant_exec_time(self, time_ns_begin: int) -> None:
        """Do not sleep: a check costs the same for wrong and right, known and unknown.

        Radicale would hold a thread for as long as the slowest check so far.
        """
