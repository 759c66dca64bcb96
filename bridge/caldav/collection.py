"""Collections as clients see them: hrefs, sync tokens, privileges; and their members.

A sync token is a URI that names the project, the position in its log and the first hex
digits of that entry's hash: it never expires, costs one row, and is refused if the log was
replaced by another one (a restored backup). It also says whether its reader saw all tasks:
after a change of scope the client has to start over, because what became visible has not
changed. The ctag is the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from bridge.caldav.multistatus import quoted
from bridge.caldav.segments import REQUESTS
from bridge.model.patch import Role
from bridge.store.rows import Listed

if TYPE_CHECKING:
    from bridge.model.ids import Address, ProjectId
    from bridge.store.rows import TaskRow

TOKEN: Final = "urn:tx-bridge:sync"  # noqa: S105 - a URI, no secret
_STAMP: Final = 8
_PARTS: Final = 4


class Kind(StrEnum):
    """What a collection is."""

    ROOT = "root"
    HOME = "home"
    PROJECT = "project"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection at one moment.

    Attributes:
        user: whose address space it is in; who asks, too.
        segment: its name there; empty for root and home.
        seq: position of its newest change; `stamp` starts the hash of that entry.
        role: the user's role; None for what is no project.
        limited: True where the user sees only tasks that name him as assignee.
        modified: time of the newest change, ``YYYY-MM-DDTHH:MM:SS.sssZ``, or "".
    """

    kind: Kind
    user: Address
    segment: str = ""
    project: ProjectId | None = None
    role: Role | None = None
    seq: int = 0
    stamp: str = ""
    limited: bool = False
    name: str = ""
    color: str = ""
    owner: Address | None = None
    modified: str = ""

    @property
    def is_list(self) -> bool:
        """True where its members are tasks."""
        return self.kind in {Kind.PROJECT, Kind.REQUESTS}

    @property
    def viewer(self) -> Address | None:
        """For the index: whose tasks only, or None for all."""
        return self.user if self.limited else None

    @property
    def path(self) -> str:
        """The path below the mount, escaped for hrefs, with a slash at its end."""
        if self.kind is Kind.ROOT:
            return "/"
        home = f"/{quoted(self.user)}/"
        return f"{home}{quoted(self.segment)}/" if self.segment else home

    @property
    def properties_key(self) -> str:
        """The name under which the directory keeps its dead properties."""
        return self.project or self.kind.value

    @property
    def sync_token(self) -> str:
        """The token of its present state."""
        return self.token_at(self.seq, self.stamp)

    def token_at(self, seq: int, stamp: str) -> str:
        """Return the token of a position."""
        name = quote(self.project or REQUESTS, safe="@")
        return f"{TOKEN}:{name}:{seq}:{'own' if self.limited else 'all'}{stamp[:_STAMP]}"

    def position(self, token: str) -> tuple[int, str] | None:
        """Return position and stamp of a token of this collection and reader, else None."""
        if not token.startswith(TOKEN + ":"):
            return None
        rest = token[len(TOKEN) + 1 :].split(":")
        if len(rest) != _PARTS - 1 or unquote(rest[0]) != (self.project or REQUESTS):
            return None
        seq, scope = rest[1], "own" if self.limited else "all"
        if not (seq.isascii() and seq.isdigit() and len(seq) < 16) or rest[2][:3] != scope:  # noqa: PLR2004 - digits of any log, letters of the scope
            return None
        return int(seq), rest[2][3:]


Member = Listed
"""A member of a list; what the index lists is one already."""


def member_of(row: TaskRow) -> Member:
    """Return a task with its text."""
    size = len(row.text.encode())
    return Member(row.href, row.etag, row.seq, size, row.modified, row.text)


_READ = ("read", "read-current-user-privilege-set")
_WRITE = ("write", "write-properties", "write-content", "bind", "unbind")


def privileges(collection: Collection) -> tuple[str, ...]:
    """Return the DAV privileges of the user (RFC 3744 section 3), most clients' switch.

    Everybody may write properties: those that the role does not cover are kept per user.
    A guest may tick what is assigned to him (``write-content``), so must not look read-only.
    """
    match collection.kind:
        case Kind.ROOT:
            return _READ
        case Kind.HOME:
            return (*_READ, "bind", "unbind", "write-properties")
        case Kind.REQUESTS:
            # bind is missing: nobody puts a task here; unbind declines.
            return (*_READ, "write-properties", "write-content", "unbind")
        case Kind.PROJECT:
            if collection.role is Role.GUEST:
                return (*_READ, "write-properties", "write-content")
            return (*_READ, *_WRITE)
