"""From the envelope's recipient to a user and the project named in the address.

``user@domain`` is the user's default list, ``user+project@domain`` names a project
(mail-trust section 5). The recipient always comes from the envelope: LMTP's RCPT, or the
Delivered-To that our own hop wrote; never from To. Nothing here tells a stranger which
projects exist: an unknown detail leads to the default list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.ids import Address, ProjectId, domain_of, parse_address, parse_project
from bridge.model.patch import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.ids import Domain
    from bridge.store.directory_contract import People
    from bridge.store.directory_records import User
    from bridge.store.index_contract import IndexReader

CREATES: Final = frozenset({Role.CREATOR, Role.OWNER, Role.MEMBER})
"""Roles that may create a task (tx-protocol section 2)."""
_NOT_IN_DETAIL: Final = re.compile(r"[^0-9a-z\w]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A user of ours and what the address said beside.

    Attributes:
        address: as the envelope names it, ``+detail`` kept, lower case.
        detail: what follows the first ``+`` of the local part; empty without one.
    """

    address: Address
    user: User
    detail: str = ""


def split_detail(address: Address) -> tuple[Address, str]:
    """Return the address without its ``+detail``, and the detail."""
    local, _, domain = address.rpartition("@")
    name, plus, detail = local.partition("+")
    return (Address(f"{name}@{domain}"), detail) if plus and name else (address, "")


def find_recipient(text: str, people: People, domain: Domain) -> Recipient | None:
    """Return whom of ours an envelope address means; None for anybody else.

    A user whose own address holds a ``+`` comes before a detail of another user. Disabled
    users are nobody.
    """
    try:
        address = parse_address(text.strip().removeprefix("<").removesuffix(">"))
    except Invalid:
        return None
    if domain_of(address) != domain:
        return None
    base, detail = split_detail(address)
    for candidate, rest in ((address, ""), (base, detail)):
        user = people.get(candidate)
        if user is not None and user.disabled is None:
            return Recipient(address=address, user=user, detail=rest)
    return None


def first_recipient(
    texts: Iterable[str | None], people: People, domain: Domain
) -> Recipient | None:
    """Return the first of `texts` that names a user of ours."""
    for text in texts:
        found = find_recipient(text, people, domain) if text else None
        if found is not None:
            return found
    return None


def named_project(
    detail: str, user: Address, index: IndexReader, domain: Domain
) -> ProjectId | None:
    """Return the project that `detail` names: by its unique part, or by its name.

    A name counts among the user's own projects only and must be one project's alone; it is
    compared without case, with anything but letters and digits as one hyphen, so that
    ``user+garden-work@`` means the project "Garden work".
    """
    if not detail:
        return None
    try:
        project = parse_project(f"{detail}@{domain}")
    except Invalid:
        return None
    if index.project(project) is not None:
        return project
    wanted = _plain(detail)
    matches = [
        card.project
        for card in index.homes(user)
        if not card.archived and card.name and _plain(card.name) == wanted
    ]
    return matches[0] if len(matches) == 1 else None


def default_project(user: User, index: IndexReader) -> ProjectId:
    """Return where a task for `user` goes that names no project: personal unless set."""
    chosen = user.default_project
    if chosen is not None and may_create(user.address, chosen, index):
        return chosen
    return ProjectId(user.address)


def may_create(user: Address, project: ProjectId, index: IndexReader) -> bool:
    """Tell whether `user` is a member of `project` whose role may create tasks."""
    state = index.project(project)
    return state is not None and state.role_of(user) in CREATES


def _plain(name: str) -> str:
    return _NOT_IN_DETAIL.sub("-", name.casefold()).strip("-")
