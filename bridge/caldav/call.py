"""One request as values, and the door that answers it.

`Door` lives as long as the process, `Call` for one request. Handlers are functions
``(call, door) -> Answer`` in `bridge.caldav.reading`, `writing` and `making`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from bridge.caldav import homesync, past, preferences
from bridge.caldav.properties import Frame
from bridge.caldav.refusededits import RefusedEdits
from bridge.caldav.segments import Segments, is_segment
from bridge.caldav.served import Client, Served
from bridge.errors import Invalid, NotFound, Unavailable
from bridge.model.patch import Via
from bridge.store.blobs import BLOB_LIMIT
from bridge.worker.command import Actor, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.caldav.collection import Collection
    from bridge.caldav.reader import Reader
    from bridge.model.ids import Address
    from bridge.store.directory_records import Credential
    from bridge.worker.command import Command, Outcome
    from bridge.worker.gateway import Gateway

log = logging.getLogger(__name__)
DEPTH_OF_TASK: Final = 3
ATTACHMENTS_MAX: Final = 100
"""Managed attachments of one task."""
_AGENT_MAX: Final = 200
_TEXT_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the door behaves.

    Attributes:
        prefix: path of the mount, no slash at its end.
        realm: of the login; clients store passwords under it, so it never changes.
        max_resource_octets: of one task (``max-resource-size``).
        max_body_octets: of any request body; above it 413 without reading on.
        wait_seconds: how long a write may wait for the worker before 503.
        failures_a_minute: wrong passwords from one address before only known ones count.
        gzip_from: octets of the smallest answer that is compressed.
    """

    prefix: str = "/dav"
    realm: str = "TX Bridge"
    max_resource_octets: int = 10 * 1024 * 1024
    max_body_octets: int = 16 * 1024 * 1024
    wait_seconds: float = 30.0
    failures_a_minute: int = 20
    gzip_from: int = 1400

    @property
    def max_attachment_octets(self) -> int:
        """Octets of one managed attachment: it travels as one body and is kept as one blob."""
        return min(BLOB_LIMIT, self.max_body_octets)


class Door:
    """What all requests of a process share."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        """Answer from `gateway`."""
        self.gateway = gateway
        self.settings = settings
        self.segments = Segments(gateway.domain, gateway.directory.properties)
        self.refused_edits = RefusedEdits(gateway)
        self.served = Served(
            gateway.directory.known, partial(past.text_with, gateway), gateway.clock
        )

    def submit(self, command: Command) -> Outcome:
        """Give a command to the worker and wait for its outcome.

        What the worker finds wrong with the input is a `Refused`, as a role's limit is; the
        event log has it then.

        Raises:
            Unavailable: ``busy`` or whatever the worker raised.
        """
        future = self.gateway.submit(command)
        try:
            return future.result(self.settings.wait_seconds)
        except Invalid as error:
            return Refused(code=error.code, reason=error.public)
        except TimeoutError:
            raise Unavailable("busy", "the server is busy", retry=True) from None

    def note_refusal(self, who: Actor, method: str, path: str, *, code: str, reason: str) -> None:
        """Write into the event log what was refused here, before the worker heard of it."""
        event = {
            "event": "refused",
            "door": who.via.value,
            "actor": who.user,
            "credential": who.credential,
            "method": method,
            "path": path[:_TEXT_MAX],
            "code": code,
            "reason": reason[:_TEXT_MAX],
        }
        self.gateway.events.append(self.gateway.clock(), [event])


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a user who is logged in.

    Attributes:
        parts: decoded segments of the path below the mount.
        href: the path as it goes out in answers.
        headers: by lower-case name.
        query: what follows the question mark, as sent.
    """

    method: str
    parts: tuple[str, ...]
    href: str
    headers: Mapping[str, str]
    body: bytes
    user: Address
    credential: Credential | None
    reader: Reader
    door: Door
    query: str = ""

    @property
    def actor(self) -> Actor:
        """Who asks, for commands."""
        return actor_of(self.user, self.credential)

    @property
    def client(self) -> Client:
        """Which program asks, as well as can be told."""
        identity = str(self.credential.id) if self.credential else self.user
        return Client(identity, self.headers.get("user-agent", "")[:_AGENT_MAX])

    @property
    def frame(self) -> Frame:
        """What properties depend on."""
        directory = self.door.gateway.directory

        def dead(collection: Collection) -> dict[str, str]:
            return directory.properties.of(self.user, collection.properties_key)

        return Frame(
            prefix=self.door.settings.prefix,
            user=self.user,
            user_name=self._user_name,
            max_octets=self.door.settings.max_resource_octets,
            max_attachment=self.door.settings.max_attachment_octets,
            max_attachments=ATTACHMENTS_MAX,
            dead=dead,
            home_token=lambda: homesync.token(self.reader.lists(), dead),
            state=self.reader.state,
            name_of=self._name_of,
        )

    def _user_name(self) -> str:
        return self._name_of(self.user)

    def _name_of(self, address: Address) -> str:
        person = self.door.gateway.directory.people.get(address)
        return person.name if person else ""

    @property
    def minimal(self) -> bool:
        """True where the client wants no 404 propstats (RFC 8144, Apple's Brief)."""
        return preferences.MINIMAL in preferences.preferred(self.headers)

    @property
    def is_own(self) -> bool:
        """True where the path is in the user's own address space."""
        return not self.parts or self.parts[0].lower() == self.user

    def found_list(self) -> Collection | None:
        """Return the list that the path is in or names."""
        if len(self.parts) < DEPTH_OF_TASK - 1 or not self.is_own:
            return None
        return self.reader.task_list(self.parts[1])

    def collection(self) -> Collection | None:
        """Return the collection that the path names, None for a task's path.

        Raises:
            NotFound: ``no-collection``.
        """
        if not self.parts:
            return self.reader.root()
        if len(self.parts) == 1:
            return self.reader.home()
        if len(self.parts) > DEPTH_OF_TASK:
            raise NotFound("no-collection", "there is nothing here")
        found = self.found_list()
        if found is None:
            raise NotFound("no-collection", "there is no such list")
        return found if len(self.parts) < DEPTH_OF_TASK else None

    def task(self) -> tuple[Collection, str]:
        """Return the list and the name of the task that the path names.

        Raises:
            NotFound: ``no-collection``.
        """
        found = self.found_list()
        if found is None or len(self.parts) != DEPTH_OF_TASK:
            raise NotFound("no-collection", "there is no such list")
        return found, self.parts[2]

    def sibling(self, name: str) -> str:
        """Return the href of another member of the list."""
        base = self.href.rstrip("/").rpartition("/")[0]
        return f"{base}/{quote(name, safe='')}"


def actor_of(user: Address, credential: Credential | None) -> Actor:
    """Return who asks, for commands and events."""
    return Actor(user=user, via=Via.CALDAV, credential=credential.label if credential else "")


@lru_cache(maxsize=1024)
def split_path(path: str) -> tuple[str, ...]:
    """Return the decoded segments of a path below the mount.

    Raises:
        Invalid: ``bad-request`` for what no name of ours can hold: dot segments, empty
            ones, backslashes, control characters, endless names.
    """
    inner = path.strip("/") if path.strip("/") else ""
    if not inner:
        return ()
    if not path.startswith("/") or path.startswith("//") or path.endswith("//"):
        raise Invalid("bad-request", "the path has empty segments")
    parts = tuple(inner.split("/"))
    if not all(is_segment(part) for part in parts):
        raise Invalid("bad-request", "the path has a name that cannot be")
    return parts
