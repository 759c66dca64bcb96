"""expand-property: properties that name resources, with those resources' (RFC 3253 section 3.8).

An href in the value of a property that is asked with properties of its own is replaced by
the DAV:response of what it names, where its reader may see that; otherwise it stays an
href. Bounded in depth and in responses: stored properties may hold any number of hrefs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from xml.etree.ElementTree import fromstring

from bridge.caldav import principals, requestxml
from bridge.caldav.call import DEPTH_OF_TASK, split_path
from bridge.caldav.multistatus import HEAD, TAIL, dav, multistatus
from bridge.caldav.properties import MemberWriter, collection_response
from bridge.errors import BridgeError, Invalid
from bridge.model.ids import parse_address

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call
    from bridge.caldav.requestxml import Asked

RESPONSES_MAX: Final = 500
DEPTH_MAX: Final = 8


@dataclass(slots=True)
class _Budget:
    """How many more responses one report may hold."""

    left: int = RESPONSES_MAX


def report(call: Call, root: Element) -> bytes:
    """Return the 207 body of a DAV:expand-property.

    Raises:
        Invalid: ``bad-xml``.
        NotFound: there is nothing of that name.
    """
    # Asked before, so that what is not there is 404 and not an empty answer.
    if call.collection() is None:
        call.task()
    found = _expanded(call, root, call.parts, _Budget(), 0)
    return multistatus([] if found is None else [requestxml.text_of(found)])


def _expanded(
    call: Call, wanted: Element, parts: tuple[str, ...], budget: _Budget, depth: int
) -> Element | None:
    """Return the DAV:response of a resource, as an element; None where none may be seen."""
    if budget.left <= 0 or depth > DEPTH_MAX:
        return None
    text = _response(call, parts, requestxml.expanded(wanted))
    if text is None:
        return None
    budget.left -= 1
    # Our own text, just made: known to parse and to hold no entity.
    found = fromstring(f"{HEAD}{text}{TAIL}".encode())[0]  # noqa: S314 - as said
    inner = {
        requestxml.property_name(child): child
        for child in wanted.findall(dav("property"))
        if len(child)
    }
    for prop in found.findall(f"{dav('propstat')}/{dav('prop')}/*"):
        if prop.tag in inner:
            _replace(call, prop, inner[prop.tag], budget, depth)
    return found


def _replace(call: Call, prop: Element, wanted: Element, budget: _Budget, depth: int) -> None:
    for at, child in enumerate(prop):
        parts = _parts(call, child.text or "") if child.tag == dav("href") else None
        if parts is None:
            continue
        found = _expanded(call, wanted, parts, budget, depth + 1)
        if found is not None:
            prop[at] = found


def _parts(call: Call, path: str) -> tuple[str, ...] | None:
    """Return the segments of an href below this door."""
    prefix = call.door.settings.prefix
    if not path.startswith(prefix + "/"):
        return None
    try:
        return split_path(unquote(path[len(prefix) :], errors="strict"))
    except (Invalid, UnicodeDecodeError):
        return None


def _response(call: Call, parts: tuple[str, ...], asked: Asked) -> str | None:
    there = replace(call, parts=parts)
    try:
        if len(parts) == 1:
            who = principals.visible(call, parse_address(parts[0]))
            return principals.person_response(call, who, asked) if who else None
        if not there.is_own:
            return None
        collection = there.collection()
        if collection is not None:
            return collection_response(collection, call.frame, asked, minimal=call.minimal)
        return _of_task(there, asked)
    except BridgeError:
        return None  # what an href names may be gone or be no name at all


def _of_task(call: Call, asked: Asked) -> str | None:
    if len(call.parts) != DEPTH_OF_TASK:
        return None
    collection, name = call.task()
    member = call.reader.member(collection, name)
    if member is None:
        return None
    writer = MemberWriter(
        collection=collection, frame=call.frame, asked=asked, minimal=call.minimal
    )
    return writer.write(member)
