"""POST of a DAV:share-resource: sharing a list (draft-pot-webdav-resource-sharing, section 4).

``read-write`` makes a MEMBER, ``read`` a GUEST who sees everything, ``no-access`` takes the
role away. Who stands higher already keeps what he has. A sharee is named by mail address, of
any domain, or by the principal's href; one of this domain has to exist. Everything is read
before anything is done; then one sharee is answered by status, several by 207.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from bridge.caldav import answers, principals, requestxml
from bridge.caldav.answers import Answer
from bridge.caldav.multistatus import CONTENT_TYPE, dav, multistatus, status_response
from bridge.caldav.sharees import SHARERS
from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, domain_of, parse_address
from bridge.model.patch import Role
from bridge.worker.command import Conflict, Refused, SetMember

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call
    from bridge.model.ids import ProjectId

MEDIA_TYPE: Final = "application/davsharing+xml"
_SHAREES_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sharee:
    """One person and the role that is meant; None takes it away."""

    href: str
    user: Address
    role: Role | None


_ROLES: Final = {
    dav("read-write"): Role.MEMBER,
    dav("read"): Role.GUEST,
    dav("no-access"): None,
}


def share(call: Call) -> Answer:
    """Answer a POST of DAV:share-resource to a list.

    Raises:
        Invalid: ``bad-xml``, ``recognized-principal``.
        NotFound: there is no such list.
    """
    root = requestxml.parse(call.body)
    if root is None or root.tag != dav("share-resource"):
        raise Invalid("bad-xml", "the body is no DAV:share-resource")
    wanted = root.findall(dav("sharee"))
    if not 0 < len(wanted) <= _SHAREES_MAX:
        raise Invalid("bad-xml", f"1 to {_SHAREES_MAX} people are named at once")
    collection = call.found_list()
    if collection is None or collection.project is None:
        raise NotFound("no-collection", "there is no list to share")
    sharees = [_read(call, each) for each in wanted]
    done = [_give(call, collection.project, sharee) for sharee in sharees]
    if len(done) == 1:
        return done[0]
    told = [status_response(s.href, a.status) for s, a in zip(sharees, done, strict=True)]
    headers = {"Content-Type": CONTENT_TYPE}
    return Answer(status=HTTPStatus.MULTI_STATUS, headers=headers, body=multistatus(told))


def _read(call: Call, sharee: Element) -> _Sharee:
    access = sharee.find(dav("share-access"))
    kinds = [child.tag for child in access] if access is not None else []
    if len(kinds) != 1 or kinds[0] not in _ROLES:
        raise Invalid("bad-xml", "share-access is read, read-write or no-access")
    named = (sharee.findtext(dav("href")) or "").strip()
    user = _address(call, named)
    role = _ROLES[kinds[0]]
    here = domain_of(user) == call.door.gateway.domain
    if role is not None and here and principals.person(call, user) is None:
        raise Invalid("recognized-principal", "there is nobody of this address here")
    return _Sharee(href=named, user=user, role=role)


def _address(call: Call, named: str) -> Address:
    prefix = call.door.settings.prefix + "/"
    if named.lower().startswith("mailto:"):
        text = named[len("mailto:") :]
    else:
        text = named.removeprefix(prefix).rstrip("/")
    try:
        return parse_address(unquote(text).lower())
    except Invalid:
        raise Invalid("recognized-principal", "a sharee is named by a mail address") from None


def _give(call: Call, project: ProjectId, sharee: _Sharee) -> Answer:
    state = call.reader.state(project)
    current = state.role_of(sharee.user) if state else None
    if sharee.user == call.user and sharee.role is not None:
        return Answer(status=HTTPStatus.NO_CONTENT)
    mine = state.role_of(call.user) if state else None
    if mine in SHARERS and sharee.role is Role.MEMBER and current in {*SHARERS, Role.MEMBER}:
        return Answer(status=HTTPStatus.NO_CONTENT)
    outcome = call.door.submit(
        SetMember(
            actor=call.actor,
            project=project,
            user=sharee.user,
            role=sharee.role,
            scope="all" if sharee.role is Role.GUEST else None,
        )
    )
    if isinstance(outcome, Refused):
        return answers.refused(outcome, path=call.href)
    if isinstance(outcome, Conflict):
        return answers.conflict(outcome)
    return Answer(status=HTTPStatus.NO_CONTENT)
