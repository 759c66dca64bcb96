"""Prefer and Brief (RFC 7240, RFC 8144)."""

from __future__ import annotations

from typing import Any

import pytest
from davdoor import D, Door, vtodo

from bridge.caldav.preferences import preferred

HOME = "/dav/alice@home.example"
PERSONAL = f"{HOME}/personal"
REPRESENTATION = "return=representation"
SET = (
    '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><X:a xmlns:X="urn:x">1</X:a></D:prop></D:set>'
    "</D:propertyupdate>"
)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("return=minimal", {"return=minimal"}),
        ('Return = "Minimal"; x=1, depth-noroot', {"return=minimal", "depth-noroot"}),
        ("return=representation, return=minimal", {"return=representation"}),
        ("", {""}),
        ("return=minimalist", {"return=minimalist"}),
    ],
)
def test_preferences_are_read_as_the_rfc_writes_them(header: str, found: set[str]) -> None:
    assert preferred({"prefer": header}) == found


def test_endless_preferences_are_cut() -> None:
    assert len(preferred({"prefer": ",".join(f"p{n}" for n in range(10_000))})) <= 50


@pytest.mark.parametrize("header", [{"prefer": "return=minimal"}, {"brief": "t"}])
def test_a_proppatch_that_did_everything_says_nothing_under_minimal(
    dav: Door, header: dict[str, Any]
) -> None:
    reply = dav("PROPPATCH", f"{PERSONAL}/", SET, **header)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["preference-applied"] == "return=minimal"
    wrong = SET.replace('<X:a xmlns:X="urn:x">1</X:a>', "<D:owner/>")
    refused = dav("PROPPATCH", f"{PERSONAL}/", wrong, **header)
    assert refused.status == 207
    assert b"cannot-modify-protected-property" in refused.body


def test_what_was_heeded_is_said(dav: Door) -> None:
    reply = dav.propfind(f"{PERSONAL}/", "<D:nothing/>", prefer="return=minimal")
    assert reply.headers["preference-applied"] == "return=minimal"
    assert reply.headers["vary"] == "Prefer, Brief"
    assert "preference-applied" not in dav.propfind(f"{PERSONAL}/", "<D:owner/>").headers
    unknown = dav.propfind(f"{PERSONAL}/", "<D:owner/>", prefer="respond-async")
    assert "preference-applied" not in unknown.headers


def test_a_listing_without_its_root(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    reply = dav.propfind(f"{PERSONAL}/", "<D:getetag/>", depth="1", prefer="depth-noroot")
    assert set(reply.members()) == {f"{PERSONAL}/a.ics"}
    assert reply.headers["preference-applied"] == "depth-noroot"
    alone = dav.propfind(f"{PERSONAL}/", "<D:getetag/>", depth="0", prefer="depth-noroot")
    assert set(alone.members()) == {f"{PERSONAL}/"}


def test_a_put_may_be_answered_with_the_task(dav: Door) -> None:
    made = dav.put("a.ics", vtodo("a"), prefer=REPRESENTATION)
    assert (made.status, made.body) == (201, vtodo("a"))
    assert made.headers["preference-applied"] == REPRESENTATION
    assert made.headers["content-location"] == "/dav/alice%40home.example/personal/a.ics"
    assert made.headers["etag"] == dav("GET", f"{PERSONAL}/a.ics").headers["etag"]
    again = dav.put("a.ics", vtodo("a", summary="B"), prefer=REPRESENTATION)
    assert (again.status, again.body) == (200, vtodo("a", summary="B"))


def test_a_merged_put_shows_what_became_of_it(dav: Door) -> None:
    dav.put("a.ics", vtodo("a", "LOCATION:Here"))
    dav("GET", f"{PERSONAL}/a.ics")
    dav.put("a.ics", vtodo("a", "LOCATION:There"), user_agent="other/1")
    mine = vtodo("a", "LOCATION:Here", summary="Oats")
    reply = dav.put("a.ics", mine, prefer=REPRESENTATION)
    assert reply.status == 200
    assert b"LOCATION:There" in reply.body
    assert b"SUMMARY:Oats" in reply.body
    assert reply.headers["etag"] == dav("GET", f"{PERSONAL}/a.ics").headers["etag"]


def test_a_put_that_came_too_late_shows_what_is_there(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    late = dav.put("a.ics", vtodo("a", summary="B"), if_match='"old"', prefer=REPRESENTATION)
    assert (late.status, late.body) == (412, vtodo("a"))
    assert late.headers["etag"] == dav("GET", f"{PERSONAL}/a.ics").headers["etag"]
    plain = dav.put("a.ics", vtodo("a", summary="B"), if_match='"old"')
    assert plain.status == 412
    assert plain.xml.tag == D + "error"


def test_a_refused_put_is_answered_with_its_reason(dav: Door) -> None:
    reply = dav.put("a.ics", b"no calendar", prefer=REPRESENTATION)
    assert reply.status == 403
    assert "preference-applied" not in reply.headers
