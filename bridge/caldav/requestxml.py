"""XML bodies of requests -> values (RFC 4918, 4791, 5689, 6578), with limits.

Promises: no DTD, no entities, nothing fetched (defusedxml); depth and counts are bounded. A
dead property is kept as XML text of its own: names, attributes, text and white space as the
client sent them, prefixes ours (RFC 4918 section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree as DefusedTree  # type: ignore[import-untyped]  # ships no types
from defusedxml import DefusedXmlException

from bridge.caldav import calendardata
from bridge.caldav.multistatus import caldav, dav, escape
from bridge.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from bridge.caldav.calendardata import Wanted

_DATA: Final = caldav("calendar-data")
DEPTH_MAX: Final = 32
PROPERTIES_MAX: Final = 500
HREFS_MAX: Final = 50_000
BODY_MAX: Final = 8 * 1024 * 1024


class Scope(StrEnum):
    """Which properties a PROPFIND asks for."""

    PROP = "prop"
    ALL = "allprop"
    NAMES = "propname"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Properties asked for: Clark names in the order of the request.

    `data` is what is asked of CALDAV:calendar-data, None for the whole text.
    """

    scope: Scope
    tags: tuple[str, ...] = ()
    data: Wanted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiget:
    """A calendar-multiget: hrefs as sent (RFC 4791 section 7.9)."""

    asked: Asked
    hrefs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A sync-collection; an empty token asks for everything (RFC 6578 section 3)."""

    asked: Asked
    token: str
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One property to set (XML text) or to remove (None)."""

    tag: str
    xml: str | None
    text: str
    has_attributes: bool


def parse(body: bytes) -> Element | None:
    """Return the root of a body, None for an empty one.

    Raises:
        Invalid: ``bad-xml``.
    """
    if not body.strip():
        return None
    if len(body) > BODY_MAX:
        raise Invalid("body-too-large", f"an XML body may have at most {BODY_MAX} octets")
    try:
        root: Element = DefusedTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Invalid("bad-xml", "the body is no XML that this server takes") from None
    _check_depth(root)
    return root


def _check_depth(root: Element) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise Invalid("bad-xml", f"the body nests deeper than {DEPTH_MAX} elements")
        level = [child for element in level for child in element]


def _asked(prop: Element | None) -> Asked:
    tags = tuple(dict.fromkeys(child.tag for child in prop)) if prop is not None else ()
    if len(tags) > PROPERTIES_MAX:
        raise Invalid("bad-xml", f"a request may name at most {PROPERTIES_MAX} properties")
    data = prop.find(_DATA) if prop is not None else None
    wanted = calendardata.parse(data) if data is not None else None
    return Asked(scope=Scope.PROP, tags=tags, data=wanted)


def propfind(root: Element | None) -> Asked:
    """Return what a PROPFIND asks for; no body asks for all (RFC 4918 section 9.1).

    Raises:
        Invalid: ``bad-xml``.
    """
    if root is None:
        return Asked(scope=Scope.ALL)
    if root.tag != dav("propfind"):
        raise Invalid("bad-xml", "the body is no DAV:propfind")
    if root.find(dav("propname")) is not None:
        return Asked(scope=Scope.NAMES)
    if root.find(dav("allprop")) is not None:
        included = _asked(root.find(dav("include")))
        return Asked(scope=Scope.ALL, tags=included.tags)
    return _asked(root.find(dav("prop")))


def report_asked(root: Element) -> Asked:
    """Return the properties that a report asks of each member."""
    if root.find(dav("allprop")) is not None:
        return Asked(scope=Scope.ALL)
    return _asked(root.find(dav("prop")))


def multiget(root: Element) -> Multiget:
    """Return a calendar-multiget.

    Raises:
        Invalid: ``bad-xml`` for too many hrefs.
    """
    hrefs = tuple((child.text or "").strip() for child in root.iter(dav("href")))
    if len(hrefs) > HREFS_MAX:
        raise Invalid("bad-xml", f"a multiget may name at most {HREFS_MAX} tasks")
    return Multiget(asked=report_asked(root), hrefs=tuple(dict.fromkeys(hrefs)))


def sync(root: Element) -> Sync:
    """Return a sync-collection; Apple's clients leave sync-level out.

    Raises:
        Invalid: ``bad-xml`` for a limit that is no number.
    """
    limit = root.findtext(f"{dav('limit')}/{dav('nresults')}")
    if limit is not None and not (limit.strip().isascii() and limit.strip().isdigit()):
        raise Invalid("bad-xml", "DAV:nresults is no number")
    return Sync(
        asked=report_asked(root),
        token=(root.findtext(dav("sync-token")) or "").strip(),
        limit=min(max(int(limit), 1), 1_000_000) if limit is not None else None,
    )


def expanded(root: Element) -> Asked:
    """Return the top properties of a DAV:expand-property (RFC 3253 section 3.8)."""
    names = (property_name(child) for child in root.findall(dav("property")))
    tags = dict.fromkeys(name for name in names if name)
    return Asked(scope=Scope.PROP, tags=tuple(tags)[:PROPERTIES_MAX])


def property_name(child: Element) -> str:
    """Return the Clark name in a DAV:property of an expand-property, "" where it is none."""
    name, namespace = child.get("name", ""), child.get("namespace", "DAV:")
    return f"{{{namespace}}}{name}" if _is_name(name) and "}" not in namespace else ""


def _is_name(name: str) -> bool:
    return bool(name) and not any(c in " \t\r\n<>&\"'/={}:" for c in name)


def changes(root: Element | None) -> tuple[Change, ...]:
    """Return what PROPPATCH, MKCALENDAR or extended MKCOL set and remove, in order.

    Raises:
        Invalid: ``bad-xml``.
    """
    if root is None:
        return ()
    found: list[Change] = []
    for instruction in root:
        if instruction.tag not in {dav("set"), dav("remove")}:
            continue
        for prop in instruction.findall(dav("prop")):
            for child in prop:
                gone = instruction.tag == dav("remove")
                found.append(_change(child, gone=gone))
    if len(found) > PROPERTIES_MAX:
        raise Invalid("bad-xml", f"a request may name at most {PROPERTIES_MAX} properties")
    return tuple(found)


def _change(child: Element, *, gone: bool) -> Change:
    return Change(
        tag=child.tag if child.tag.startswith("{") else "{}" + child.tag,
        xml=None if gone else text_of(child),
        text="" if gone else "".join(child.itertext()),
        has_attributes=bool(child.attrib),
    )


def components(root: Element | None) -> frozenset[str] | None:
    """Return the component set that a new list shall take; None if none is named."""
    if root is None:
        return None
    named = next(root.iter(caldav("supported-calendar-component-set")), None)
    if named is None:
        return None
    return frozenset(child.get("name", "").upper() for child in named)


def text_of(element: Element) -> str:
    """Return `element` as XML text that stands alone; CRs survive as references."""
    return "".join(_write(element, {}))


def _write(element: Element, scope: dict[str, str]) -> Iterator[str]:
    # Bounded: `parse` refused what nests deeper than DEPTH_MAX.
    declared = dict(scope)
    new: list[str] = []
    name = _name(element.tag, declared, new)
    attributes = "".join(
        f' {_name(key, declared, new)}="{_attribute(value)}"'
        for key, value in element.attrib.items()
    )
    yield f"<{name}{''.join(new)}{attributes}"
    if element.text is None and not len(element):
        yield "/>"
        return
    yield ">" + _content(element.text)
    for child in element:
        yield from _write(child, declared)
        yield _content(child.tail)
    yield f"</{name}>"


_XML: Final = "http://www.w3.org/XML/1998/namespace"


def _name(tag: str, declared: dict[str, str], new: list[str]) -> str:
    if not tag.startswith("{"):
        return tag
    namespace, _, name = tag[1:].rpartition("}")
    if namespace == _XML:
        return f"xml:{name}"
    prefix = declared.get(namespace)
    if prefix is None:
        prefix = declared[namespace] = f"n{len(declared)}"
        new.append(f' xmlns:{prefix}="{_attribute(namespace)}"')
    return f"{prefix}:{name}"


def _content(text: str | None) -> str:
    return escape(text).replace("\r", "&#13;") if text else ""


def _attribute(text: str) -> str:
    escaped = escape(text).replace('"', "&quot;")
    return escaped.replace("\r", "&#13;").replace("\n", "&#10;").replace("\t", "&#9;")
