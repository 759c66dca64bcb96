"""MKCALENDAR, extended MKCOL and PROPPATCH: lists and their properties.

A list made by a client is a project of its user, under the name that the client chose. Name
and colour belong to the project where the user's role allows it; everything else that a
client sets is kept for this user alone, as it was sent: Apple's clients set colour and order
on every list, also on those of others, and repeat it for ever when refused.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav import answers, requestxml
from bridge.caldav.answers import Answer
from bridge.caldav.collection import Collection, Kind
from bridge.caldav.multistatus import (
    CONTENT_TYPE,
    caldav,
    dav,
    element,
    error_body,
    error_element,
    href,
    multistatus,
    propstat,
)
from bridge.caldav.properties import COLOR, NAME, PROTECTED, may_set_policy
from bridge.caldav.segments import is_hidden
from bridge.errors import Invalid
from bridge.model.ids import ProjectId
from bridge.worker.command import Conflict, CreateProject, Need, Receipt, Refused, SetPolicy

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call
    from bridge.caldav.requestxml import Change
    from bridge.model.ids import Domain
    from bridge.worker.command import Outcome

_POLICY: Final = {NAME: "name", COLOR: "color"}
_TEXT_MAX: Final = 255
_LIST_DEPTH: Final = 2
# Said when a list is made, and answered live afterwards.
_ONLY_AT_BIRTH: Final = frozenset({dav("resourcetype"), caldav("supported-calendar-component-set")})


def new_project(identity: uuid.UUID, domain: Domain) -> ProjectId:
    """Return the id of a new project: 26 letters that cannot meet a mailbox name."""
    unique = base64.b32encode(identity.bytes).decode().rstrip("=").lower()
    return ProjectId(f"{unique}@{domain}")


def mkcalendar(call: Call) -> Answer:
    """Answer MKCALENDAR (RFC 4791 section 5.3.1).

    Raises:
        Invalid: ``bad-xml``, ``resource-must-be-null``, ``calendar-collection-location-ok``.
    """
    return _make(call, requestxml.parse(call.body))


def mkcol(call: Call) -> Answer:
    """Answer extended MKCOL (RFC 5689); a plain collection cannot be made.

    Raises:
        Invalid: as `mkcalendar`.
    """
    root = requestxml.parse(call.body)
    if root is None or next(root.iter(caldav("calendar")), None) is None:
        return Answer(
            status=HTTPStatus.FORBIDDEN,
            headers={"Content-Type": CONTENT_TYPE},
            body=error_body(element(dav("valid-resourcetype"))),
        )
    return _make(call, root)


def _make(call: Call, root: Element | None) -> Answer:
    if len(call.parts) < _LIST_DEPTH:
        raise Invalid("resource-must-be-null", "there is a collection already")
    if len(call.parts) > _LIST_DEPTH:
        raise Invalid("calendar-collection-location-ok", "a list lies directly in your home")
    segment = call.parts[1]
    if call.reader.task_list(segment) is not None:
        raise Invalid("resource-must-be-null", "there is a list of this name already")
    components = requestxml.components(root)
    if components is not None and "VTODO" not in components:
        refused = Refused(
            code="supported-calendar-component", reason="lists hold tasks (VTODO) only"
        )
        call.door.note_refusal(
            call.actor, call.method, call.href, code=refused.code, reason=refused.reason
        )
        return answers.refused(refused, path=call.href)
    changes = _kept(change for change in requestxml.changes(root) if change.xml is not None)
    gateway = call.door.gateway
    project = new_project(gateway.new_id(), gateway.domain)
    try:
        # Before the project: a crash in between leaves a name that leads nowhere, not a
        # list that its client cannot find and makes again.
        call.door.segments.choose(call.user, segment, project)
    except Invalid as error:
        raise Invalid("calendar-collection-location-ok", error.public) from None
    policy = {k: v for k, v in _policies(changes).items() if v is not None}
    policy.setdefault("name", segment)
    outcome = call.door.submit(CreateProject(actor=call.actor, project=project, policy=policy))
    if not isinstance(outcome, Receipt):
        return _not_done(call, outcome)
    gateway.directory.properties.change(call.user, project, _dead(changes, governs=True))
    return Answer(status=HTTPStatus.CREATED, headers={"Cache-Control": "no-cache"}, body=b"")


def _not_done(call: Call, outcome: Outcome) -> Answer:
    if isinstance(outcome, Conflict):
        return answers.conflict(outcome)
    if isinstance(outcome, Refused):
        return answers.refused(outcome, path=call.href)
    return Answer(status=HTTPStatus.NO_CONTENT)


def _kept(changes: Iterable[Change]) -> list[Change]:
    """Return the last change of each property, without those that only shape a new list."""
    last = {change.tag: change for change in changes if change.tag not in _ONLY_AT_BIRTH}
    return [change for change in last.values() if change.tag not in PROTECTED]


def _policies(changes: Sequence[Change]) -> dict[str, str | None]:
    return {
        _POLICY[change.tag]: _one_line(change.text) if change.xml is not None else None
        for change in changes
        if change.tag in _POLICY
    }


def _one_line(text: str) -> str | None:
    kept = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(kept.split())[:_TEXT_MAX] or None


def _dead(changes: Sequence[Change], *, governs: bool) -> dict[str, str | None]:
    """Return what is stored for the user: of name and colour only what the project cannot."""
    return {
        change.tag: None
        if governs and change.tag in _POLICY and not change.has_attributes
        else change.xml
        for change in changes
    }


# -- PROPPATCH ---------------------------------------------------------------------------


def proppatch(call: Call) -> Answer:
    """Answer PROPPATCH: all or nothing (RFC 4918 section 9.2).

    Raises:
        Invalid: ``bad-xml``.
        NotFound: there is no such list.
    """
    root = requestxml.parse(call.body)
    if root is None or root.tag != dav("propertyupdate"):
        raise Invalid("bad-xml", "the body is no DAV:propertyupdate")
    changes = requestxml.changes(root)
    collection = call.collection()
    if collection is None:
        call.task()
        return _report(call, changes, {change.tag for change in changes})
    wrong = {c.tag for c in changes if c.tag in PROTECTED or is_hidden(c.tag)}
    if collection.kind is Kind.ROOT:
        wrong = {change.tag for change in changes}
    if wrong:
        return _report(call, changes, wrong)
    return _apply(call, collection, changes)


def _apply(call: Call, collection: Collection, changes: Sequence[Change]) -> Answer:
    store = call.door.gateway.directory.properties
    governs = collection.project is not None and may_set_policy(collection)
    last = list({change.tag: change for change in changes}.values())
    dead = _dead(last, governs=governs)
    key = collection.properties_key
    before = store.of(call.user, key)
    store.change(call.user, key, dead)
    policy = _policies(last) if governs else {}
    if policy and collection.project is not None:
        command = SetPolicy(actor=call.actor, project=collection.project, policy=policy)
        outcome: Outcome | None = None
        try:
            outcome = call.door.submit(command)
        finally:
            if not isinstance(outcome, Receipt):
                store.change(call.user, key, {tag: before.get(tag) for tag in dead})
        if isinstance(outcome, Refused) and outcome.need is Need.WRITE_PROPERTIES:
            return _report(call, changes, {tag for tag in dead if tag in _POLICY})
        if not isinstance(outcome, Receipt):
            return _not_done(call, outcome)
    return _report(call, changes, set())


def _report(call: Call, changes: Sequence[Change], wrong: set[str]) -> Answer:
    """Return 207: 200 for all, or 403 for the wrong ones and 424 for the others."""
    tags = list(dict.fromkeys(change.tag for change in changes))
    if not wrong and call.minimal:
        return Answer(status=HTTPStatus.OK, body=b"")  # RFC 8144 section 2.2
    if not wrong:
        stats = propstat((element(tag) for tag in tags), HTTPStatus.OK)
    else:
        protected = error_element(element(dav("cannot-modify-protected-property")))
        bad = [element(tag) for tag in tags if tag in wrong]
        rest = [element(tag) for tag in tags if tag not in wrong]
        stats = propstat(bad, HTTPStatus.FORBIDDEN, protected)
        if rest:
            stats += propstat(rest, HTTPStatus.FAILED_DEPENDENCY)
    body = multistatus([f"<D:response>{href(call.href)}{stats}</D:response>"])
    return Answer(status=HTTPStatus.MULTI_STATUS, headers={"Content-Type": CONTENT_TYPE}, body=body)
