"""Edits that were refused, kept: what a person wrote is not lost because a rule said no.

The text of a refused PUT (403, 409, 412) becomes a blob of the project's container, named
with the reason in an event ``refused-edit``; ``tx-bridge log --refused`` shows both
(caldav-clients section 5 point 6). Kept is only what a member of the project sent and what
is a task; bounded in size and in number for each member and hour, because a program that
repeats itself must not fill the disk. The same text twice is one blob.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.worker.command import Conflict

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.model.ids import Address, ProjectId
    from bridge.worker.command import Actor, Refused
    from bridge.worker.gateway import Gateway

EVENT: Final = "refused-edit"
OCTETS_MAX: Final = 128 * 1024
"""Of a longer text the event alone is kept."""
HOURLY: Final = 60
"""Texts of one member that are kept in an hour; of more of them the events alone."""
_USERS_MAX: Final = 10_000
# What is wrong with the body itself: there is no task to keep.
_BODY: Final = ("valid-", "supported-", "max-", "too-")


class RefusedEdits:
    """Keeps refused texts; safe for threads."""

    def __init__(self, gateway: Gateway) -> None:
        """Keep them in the containers of `gateway`."""
        self._gateway = gateway
        self._lock = threading.Lock()
        self._kept: dict[Address, list[datetime]] = {}

    def keep(
        self, actor: Actor, place: tuple[ProjectId, str], text: str, outcome: Refused | Conflict
    ) -> None:
        """Keep a text that the worker refused; never raises, for the answer stands already.

        Args:
            actor: who sent it.
            place: the project and the task's name in it.
            text: what was sent.
            outcome: why it was refused; "not now" is no refusal.
        """
        project, href = place
        code = "conflict" if isinstance(outcome, Conflict) else outcome.code
        later = not isinstance(outcome, Conflict) and outcome.retry
        state = self._gateway.index.project(project)
        if later or code.startswith(_BODY) or state is None or not state.role_of(actor.user):
            return
        event: dict[str, object] = {
            "event": EVENT,
            "door": actor.via.value,
            "actor": actor.user,
            "credential": actor.credential,
            "project": project,
            "href": href,
            "code": code,
            "reason": outcome.reason,
        }
        data = text.encode(errors="replace")
        if len(data) <= OCTETS_MAX and self._has_room(actor.user):
            try:
                event["ref"] = self._gateway.keep_blob(project, data)
            except BridgeError as error:
                event["lost"] = error.public
        self._gateway.events.append(self._gateway.clock(), [event])

    def _has_room(self, user: Address) -> bool:
        now = self._gateway.clock()
        with self._lock:
            if len(self._kept) > _USERS_MAX:
                self._kept.clear()
            recent = [at for at in self._kept.get(user, ()) if at > now - timedelta(hours=1)]
            room = len(recent) < HOURLY
            self._kept[user] = [*recent, now] if room else recent
        return room
