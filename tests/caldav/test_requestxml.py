"""XML bodies: what is read, what is refused, and that dead properties come back the same."""

from __future__ import annotations

import contextlib
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.caldav import requestxml
from bridge.caldav.requestxml import Asked, Scope
from bridge.errors import Invalid

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
SPACES = st.sampled_from(["", "DAV:", "urn:x", "http://a/?b=c&d", 'urn:"q"'])
# What XML 1.0 can carry, CR and white space included.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("\r\n\t <>&\"'"),
        st.characters(min_codepoint=0x20, max_codepoint=0xD7FF),
        st.characters(min_codepoint=0x10000, max_codepoint=0x10FFFF),
    ),
    max_size=20,
)


def tag(space: str, name: str) -> str:
    return f"{{{space}}}{name}" if space else name


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> ET.Element:
    element = ET.Element(
        tag(draw(SPACES), draw(NAMES)),
        {tag(draw(SPACES), draw(NAMES)): draw(TEXTS) for _ in range(draw(st.integers(0, 2)))},
    )
    element.text = draw(TEXTS)
    for _ in range(draw(st.integers(0, 2)) if depth else 0):
        child = draw(elements(depth - 1))
        child.tail = draw(TEXTS)
        element.append(child)
    return element


def same(one: ET.Element, other: ET.Element) -> bool:
    return (
        one.tag == other.tag
        and one.attrib == other.attrib
        and (one.text or "") == (other.text or "")
        and (one.tail or "") == (other.tail or "")
        and len(one) == len(other)
        and all(same(a, b) for a, b in zip(one, other, strict=True))
    )


@given(elements())
def test_a_kept_property_reads_back_the_same(element: ET.Element) -> None:
    back = ET.fromstring(requestxml.text_of(element))  # noqa: S314 - our own text
    element.tail = None
    assert same(back, element)


@given(st.binary(max_size=200))
def test_any_bytes_are_xml_or_refused(body: bytes) -> None:
    with contextlib.suppress(Invalid):
        requestxml.parse(body)


@pytest.mark.parametrize("depth", [requestxml.DEPTH_MAX, requestxml.DEPTH_MAX + 1, 100_000])
def test_depth_is_bounded(depth: int) -> None:
    body = b"<a>" * depth + b"</a>" * depth
    if depth <= requestxml.DEPTH_MAX:
        assert requestxml.parse(body) is not None
    else:
        with pytest.raises(Invalid):
            requestxml.parse(body)


def test_a_body_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(Invalid) as caught:
        requestxml.parse(b"<a>" + b" " * requestxml.BODY_MAX + b"</a>")
    assert caught.value.code == "body-too-large"


def root(body: str) -> ET.Element:
    found = requestxml.parse(body.encode())
    assert found is not None
    return found


def test_an_empty_propfind_asks_for_all() -> None:
    assert requestxml.propfind(requestxml.parse(b"  ")) == Asked(scope=Scope.ALL)


def test_a_propfind_names_each_property_once() -> None:
    asked = requestxml.propfind(
        root('<propfind xmlns="DAV:"><prop><owner/><owner/><x xmlns="urn:x"/></prop></propfind>')
    )
    assert asked.tags == ("{DAV:}owner", "{urn:x}x")


def test_a_sync_without_level_or_token_is_read_as_apple_means_it() -> None:
    found = requestxml.sync(
        root('<sync-collection xmlns="DAV:"><sync-token/><prop><getetag/></prop></sync-collection>')
    )
    assert (found.token, found.limit) == ("", None)


@pytest.mark.parametrize("limit", ["x", "-1", "1.5", ""])
def test_a_limit_that_is_no_number_is_refused(limit: str) -> None:
    body = f'<sync-collection xmlns="DAV:"><limit><nresults>{limit}</nresults></limit></sync-collection>'
    with pytest.raises(Invalid):
        requestxml.sync(root(body))


def test_changes_keep_their_order_and_say_what_goes() -> None:
    changes = requestxml.changes(
        root(
            '<propertyupdate xmlns="DAV:"><set><prop><a>1</a></prop></set>'
            '<remove><prop><b/></prop></remove><set><prop><c d="2">x<e/>y</c></prop></set>'
            "</propertyupdate>"
        )
    )
    assert [(c.tag, c.text, c.xml is None, c.has_attributes) for c in changes] == [
        ("{DAV:}a", "1", False, False),
        ("{DAV:}b", "", True, False),
        ("{DAV:}c", "xy", False, True),
    ]
