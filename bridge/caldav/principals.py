"""Other people: their principals and the search for them (RFC 3744 sections 4 and 9).

A user may know of people of this domain only who shares a project with him, and whoever's
whole address he already has: searching by letters never lists the domain. Of others a
principal tells name and addresses, nothing that leads into their home.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav import requestxml
from bridge.caldav.multistatus import (
    HEAD,
    TAIL,
    caldav,
    dav,
    element,
    error_element,
    escape,
    href,
    multistatus,
    response,
    server,
    status_response,
)
from bridge.caldav.properties import collection_response
from bridge.caldav.requestxml import Scope
from bridge.errors import Invalid
from bridge.model.ids import Address, domain_of, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call
    from bridge.caldav.properties import Frame
    from bridge.caldav.requestxml import Asked

FOUND_MAX: Final = 100
"""People in one answer; more end it with 507."""
_KNOWN_MAX: Final = 5000
_CONDITIONS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody of this domain, as others may see him."""

    address: Address
    name: str


# -- who may be seen ---------------------------------------------------------------------


def shared_with(call: Call) -> Iterator[Address]:
    """Yield the user and the people of this domain with whom he shares a project."""
    domain = call.door.gateway.domain
    seen = {call.user}
    yield call.user
    for card in call.door.gateway.index.homes(call.user):
        state = call.reader.state(card.project)
        for member in state.members if state and not card.archived else ():
            if member not in seen and domain_of(member) == domain and len(seen) < _KNOWN_MAX:
                seen.add(member)
                yield Address(member)


def person(call: Call, address: Address) -> Person | None:
    """Return a user of this domain, None for nobody and for one who may not log in."""
    found = call.door.gateway.directory.people.get(address)
    if found is None or found.disabled is not None:
        return None
    return Person(address=address, name=found.name)


def visible(call: Call, address: Address) -> Person | None:
    """Return somebody whose principal the user may read."""
    return person(call, address) if address in shared_with(call) else None


# -- properties --------------------------------------------------------------------------

_PERSON: Final[Mapping[str, Callable[[Person, Frame], str]]] = {
    dav("resourcetype"): lambda _, __: element(dav("principal")),
    dav("displayname"): lambda who, _: escape(who.name or who.address),
    dav("principal-URL"): lambda who, frame: href(frame.principal(who.address)),
    dav("current-user-principal"): lambda _, frame: href(frame.principal(frame.user)),
    dav("principal-collection-set"): lambda _, frame: href(f"{frame.prefix}/"),
    caldav("calendar-user-address-set"): lambda who, frame: (
        href(f"mailto:{who.address}") + href(frame.principal(who.address))
    ),
    caldav("calendar-user-type"): lambda _, __: "INDIVIDUAL",
    server("email-address-set"): lambda who, _: element(
        server("email-address"), escape(who.address)
    ),
}


def person_response(call: Call, who: Person, asked: Asked) -> str:
    """Return the DAV:response of a principal; one's own tells what the home tells."""
    frame = call.frame
    if who.address == call.user:
        return collection_response(call.reader.home(), frame, asked, minimal=call.minimal)
    tags = tuple(_PERSON) if asked.scope is not Scope.PROP else asked.tags
    found = [
        element(tag) if asked.scope is Scope.NAMES else element(tag, _PERSON[tag](who, frame))
        for tag in tags
        if tag in _PERSON
    ]
    missing = [tag for tag in tags if tag not in _PERSON]
    return response(frame.principal(who.address), found, missing, minimal=call.minimal)


def propfind(call: Call) -> bytes | None:
    """Return the 207 body of a PROPFIND on somebody else's principal, None where there is none.

    Raises:
        Invalid: ``bad-xml``.
    """
    if call.method != "PROPFIND" or len(call.parts) != 1:
        return None
    try:
        who = visible(call, parse_address(call.parts[0]))
    except Invalid:
        return None
    if who is None:
        return None
    asked = requestxml.propfind(requestxml.parse(call.body))
    return multistatus([person_response(call, who, asked)])


# -- the search --------------------------------------------------------------------------

_SEARCHED: Final[Mapping[str, str]] = {
    dav("displayname"): "Name",
    server("email-address-set"): "Mail address",
    caldav("calendar-user-address-set"): "Calendar address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Condition:
    """One property-search: all of its properties must match its text."""

    tags: tuple[str, ...]
    text: str
    how: str

    def holds(self, who: Person) -> bool:
        return bool(self.tags) and all(self._matches(tag, who) for tag in self.tags)

    def _matches(self, tag: str, who: Person) -> bool:
        if tag not in _SEARCHED:
            return False
        value = (who.name or who.address).casefold()
        if tag != dav("displayname"):
            value = who.address
        match self.how:
            case "equals" | "exact":
                return value == self.text
            case "starts-with":
                return value.startswith(self.text)
            case _:
                return self.text in value


def search_properties() -> bytes:
    """Return what can be searched (RFC 3744 section 9.5)."""
    inner = "".join(
        element(
            dav("principal-search-property"),
            element(dav("prop"), element(tag))
            + f'<D:description xml:lang="en">{description}</D:description>',
        )
        for tag, description in _SEARCHED.items()
    )
    whole = HEAD.replace("<D:multistatus", "<D:principal-search-property-set", 1)
    tail = TAIL.replace("multistatus", "principal-search-property-set")
    return f"{whole}{inner}{tail}".encode()


def search(call: Call, root: Element) -> bytes:
    """Return the 207 body of a principal-property-search (RFC 3744 section 9.4).

    Raises:
        Invalid: ``bad-xml``.
    """
    conditions = [_condition(each) for each in root.findall(dav("property-search"))]
    if not conditions or len(conditions) > _CONDITIONS_MAX:
        raise Invalid("bad-xml", f"a search has 1 to {_CONDITIONS_MAX} conditions")
    asked = requestxml.report_asked(root)
    enough = any if root.get("test", "allof").lower() == "anyof" else all
    matching = (
        who for who in _candidates(call, conditions) if enough(c.holds(who) for c in conditions)
    )
    found = list(itertools.islice(matching, FOUND_MAX + 1))
    answers = [person_response(call, who, asked) for who in found[:FOUND_MAX]]
    if found[FOUND_MAX:]:
        condition = error_element(element(dav("number-of-matches-within-limits")))
        answers.append(status_response(call.href, HTTPStatus.INSUFFICIENT_STORAGE, condition))
    return multistatus(answers)


def _condition(each: Element) -> _Condition:
    text = (each.findtext(dav("match")) or "").strip()
    match = each.find(dav("match"))
    how = match.get("match-type", "contains").lower() if match is not None else "contains"
    tags = requestxml.report_asked(each).tags
    if not tags or not text:
        raise Invalid("bad-xml", "a condition names properties and a text")
    if dav("displayname") not in tags:
        text = text.lower().removeprefix("mailto:")
    return _Condition(tags=tags, text=text.casefold(), how=how)


def _candidates(call: Call, conditions: list[_Condition]) -> Iterator[Person]:
    """Yield whom the user may know: by a shared project, or by the whole address."""
    exact = (_exact(call, condition.text) for condition in conditions)
    addresses = itertools.chain(shared_with(call), (found for found in exact if found))
    for address in dict.fromkeys(addresses):
        who = person(call, address)
        if who is not None:
            yield who


def _exact(call: Call, text: str) -> Address | None:
    try:
        found = parse_address(text)
    except Invalid:
        return None
    return found if domain_of(found) == call.door.gateway.domain else None
