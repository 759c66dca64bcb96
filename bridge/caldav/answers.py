"""From outcomes and errors to HTTP status and precondition element, in one place.

Rules that clients taught (caldav-clients sections 0, 4 and 7): "never" is 403 with its reason
(Thunderbird keeps the task, DAVx5 reverts only for ``need-privileges``); "not now" is 503 with
Retry-After, never 429 (that switches Thunderbird's calendar off); 409 and 412 mean a conflict
and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav.multistatus import (
    CONTENT_TYPE,
    OURS,
    caldav,
    dav,
    element,
    error_body,
    escape,
    href,
)
from bridge.errors import BridgeError, Corrupt, Misconfigured, NotFound, Unavailable
from bridge.worker.command import Conflict, Need, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer: status, headers and body (None for none)."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    status: HTTPStatus
    element: str


_FORBIDDEN = HTTPStatus.FORBIDDEN
_RULES: Final[Mapping[str, _Rule]] = {
    "valid-calendar-data": _Rule(status=_FORBIDDEN, element=caldav("valid-calendar-data")),
    "valid-calendar-object-resource": _Rule(
        status=_FORBIDDEN, element=caldav("valid-calendar-object-resource")
    ),
    "supported-calendar-component": _Rule(
        status=_FORBIDDEN, element=caldav("supported-calendar-component")
    ),
    "supported-calendar-data": _Rule(
        status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, element=caldav("supported-calendar-data")
    ),
    # What a report asks for; the one above is about what a PUT brings.
    "calendar-data-type": _Rule(status=_FORBIDDEN, element=caldav("supported-calendar-data")),
    "supported-filter": _Rule(status=_FORBIDDEN, element=caldav("supported-filter")),
    "valid-filter": _Rule(status=_FORBIDDEN, element=caldav("valid-filter")),
    "supported-collation": _Rule(status=_FORBIDDEN, element=caldav("supported-collation")),
    "max-resource-size": _Rule(status=_FORBIDDEN, element=caldav("max-resource-size")),
    "too-large": _Rule(status=_FORBIDDEN, element=caldav("max-resource-size")),
    "too-many": _Rule(status=_FORBIDDEN, element=caldav("max-resource-size")),
    "body-too-large": _Rule(
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, element=caldav("max-resource-size")
    ),
    "no-uid-conflict": _Rule(status=HTTPStatus.CONFLICT, element=caldav("no-uid-conflict")),
    "calendar-collection-location-ok": _Rule(
        status=_FORBIDDEN, element=caldav("calendar-collection-location-ok")
    ),
    "resource-must-be-null": _Rule(
        status=HTTPStatus.METHOD_NOT_ALLOWED, element=dav("resource-must-be-null")
    ),
    "exists": _Rule(status=HTTPStatus.METHOD_NOT_ALLOWED, element=dav("resource-must-be-null")),
    "valid-sync-token": _Rule(status=_FORBIDDEN, element=dav("valid-sync-token")),
    "sync-traversal-supported": _Rule(status=_FORBIDDEN, element=dav("sync-traversal-supported")),
    "supported-report": _Rule(status=_FORBIDDEN, element=dav("supported-report")),
    "propfind-finite-depth": _Rule(status=_FORBIDDEN, element=dav("propfind-finite-depth")),
    "recognized-principal": _Rule(status=_FORBIDDEN, element=dav("recognized-principal")),
    # RFC 8607 section 3.11.
    "valid-action-parameter": _Rule(status=_FORBIDDEN, element=caldav("valid-action-parameter")),
    "valid-managed-id-parameter": _Rule(
        status=_FORBIDDEN, element=caldav("valid-managed-id-parameter")
    ),
    "valid-rid-parameter": _Rule(status=_FORBIDDEN, element=caldav("valid-rid-parameter")),
    "max-attachment-size": _Rule(status=_FORBIDDEN, element=caldav("max-attachment-size")),
    "max-attachments-per-resource": _Rule(
        status=_FORBIDDEN, element=caldav("max-attachments-per-resource")
    ),
    "attachment-too-large": _Rule(
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, element=caldav("max-attachment-size")
    ),
    "disk-full": _Rule(
        status=HTTPStatus.INSUFFICIENT_STORAGE, element=dav("sufficient-disk-space")
    ),
    "bad-request": _Rule(status=HTTPStatus.BAD_REQUEST, element=""),
    "bad-xml": _Rule(status=HTTPStatus.BAD_REQUEST, element=""),
    "no-parent": _Rule(status=HTTPStatus.CONFLICT, element=""),
    "not-allowed": _Rule(status=HTTPStatus.METHOD_NOT_ALLOWED, element=""),
    "no-task": _Rule(status=HTTPStatus.NOT_FOUND, element=""),
    "no-project": _Rule(status=HTTPStatus.NOT_FOUND, element=""),
    "no-request": _Rule(status=HTTPStatus.NOT_FOUND, element=""),
    "conflict": _Rule(status=HTTPStatus.CONFLICT, element=""),
}


def reason_element(reason: str) -> str:
    """Return the sentence for people; clients that do not know the element pass it over."""
    return element(f"{{{OURS}}}reason", escape(reason))


def refused(
    outcome: Refused, *, path: str, sibling: Callable[[str], str] = lambda name: name
) -> Answer:
    """Return the answer to a refusal.

    Args:
        outcome: what the worker or this door said.
        path: the request's path as an href, named in ``need-privileges``.
        sibling: makes the href of another name of the same collection.
    """
    rule = _RULES.get(outcome.code)
    if outcome.retry and outcome.code != "disk-full":
        return unavailable(outcome.reason)
    if rule is None or outcome.need is not None:
        return need_privileges(outcome.need or Need.WRITE_CONTENT, path, outcome.reason)
    inner = href(sibling(outcome.href)) if outcome.href else ""
    return _with_condition(rule, outcome.reason, inner)


def conflict(outcome: Conflict) -> Answer:
    """Return 412: a precondition of the request is not true."""
    return Answer(
        status=HTTPStatus.PRECONDITION_FAILED,
        headers={"Content-Type": CONTENT_TYPE},
        body=error_body(reason_element(outcome.reason)),
    )


def need_privileges(need: Need, path: str, reason: str) -> Answer:
    """Return 403 with DAV:need-privileges (RFC 3744 section 7.1.1)."""
    privilege = element(dav("privilege"), element(dav(need.value)))
    resource = element(dav("resource"), href(path) + privilege)
    body = error_body(element(dav("need-privileges"), resource) + reason_element(reason))
    return Answer(status=_FORBIDDEN, headers={"Content-Type": CONTENT_TYPE}, body=body)


def unavailable(reason: str) -> Answer:
    """Return 503: the same request may succeed later."""
    return Answer(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={"Content-Type": CONTENT_TYPE, "Retry-After": str(RETRY_SECONDS)},
        body=error_body(reason_element(reason)),
    )


def failed(error: BridgeError) -> Answer:
    """Return the answer to an error that crossed the layers."""
    rule = _RULES.get(error.code)
    if rule is not None:
        return _with_condition(rule, error.public, "")
    if isinstance(error, Unavailable) or error.retry:
        return unavailable(error.public)
    if isinstance(error, NotFound):
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, Corrupt | Misconfigured):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    else:
        status = HTTPStatus.BAD_REQUEST
    return _with_condition(_Rule(status=status, element=""), error.public, "")


def _with_condition(rule: _Rule, reason: str, inner: str) -> Answer:
    condition = element(rule.element, inner) if rule.element else ""
    return Answer(
        status=rule.status,
        headers={"Content-Type": CONTENT_TYPE},
        body=error_body(condition + reason_element(reason)),
    )
