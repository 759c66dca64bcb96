"""Who shares a list, as clients show it (draft-pot-webdav-resource-sharing, section 5).

Roles of the project are the truth: its CREATOR and OWNERs share, a MEMBER has ``read-write``,
a GUEST ``read``. There is no invitation to wait for: who is given a role has it, so all are
``invite-accepted``. Guests are not shown who else is there. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.caldav.multistatus import dav, element, escape, href
from bridge.model.patch import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.ids import Address
    from bridge.model.state import ProjectState

SHARERS: Final = frozenset({Role.CREATOR, Role.OWNER})
_SHOWN_MAX: Final = 1000
_ACCESS: Final = {
    Role.CREATOR: "shared-owner",
    Role.OWNER: "read-write",
    Role.MEMBER: "read-write",
    Role.GUEST: "read",
}


def share_access(state: ProjectState, user: Address) -> str | None:
    """Return the inner XML of DAV:share-access for `user`."""
    role = state.role_of(user)
    if role is None:
        return None
    if role in SHARERS:
        return element(dav("shared-owner" if len(state.members) > 1 else "not-shared"))
    return element(dav(_ACCESS[role]))


def invite(state: ProjectState, user: Address, name_of: Callable[[Address], str]) -> str | None:
    """Return the inner XML of DAV:invite: everybody who has a role but the reader."""
    if state.role_of(user) in {None, Role.GUEST}:
        return None
    others = [(who, member.role) for who, member in state.members.items() if who != user]
    return "".join(_sharee(who, role, name_of(who)) for who, role in others[:_SHOWN_MAX])


def _sharee(who: Address, role: Role, name: str) -> str:
    shown = element(dav("prop"), element(dav("displayname"), escape(name))) if name else ""
    access = element(dav("share-access"), element(dav(_ACCESS[role])))
    inner = href(f"mailto:{who}") + shown + access + element(dav("invite-accepted"))
    return element(dav("sharee"), inner)
