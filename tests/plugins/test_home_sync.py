"""sync-collection of the home: lists that came, changed and went (RFC 6578)."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from davdoor import A, D, Door, Reply, vtodo
from house import ALICE, BOB, TEAM, actor

from bridge.model.patch import Role
from bridge.worker.command import SetMember

HOME = "/dav/alice@home.example"
BOBS = "/dav/bob@home.example"
LIST = TEAM.partition("@")[0]


def sync(dav: Door, token: str = "", more: str = "", home: str = HOME, **headers: Any) -> Reply:
    body = (
        f'<sync-collection xmlns="DAV:"><sync-token>{token}</sync-token>{more}'
        '<prop><displayname/><calendar-order xmlns="http://apple.com/ns/ical/"/></prop>'
        "</sync-collection>"
    )
    return dav("REPORT", f"{home}/", body, depth="1", **headers)


def token(reply: Reply) -> str:
    return reply.xml.findtext(f"{D}sync-token") or ""


def test_the_first_sync_lists_everything_and_the_next_nothing(dav: Door) -> None:
    first = sync(dav)
    assert set(first.members()) == {f"{HOME}/personal/", f"{HOME}/requests/"}
    again = sync(dav, token(first))
    assert again.members() == {}
    assert token(again) == token(first)


def test_the_home_tells_its_token_and_the_report(dav: Door) -> None:
    props = dav.propfind(f"{HOME}/", "<D:sync-token/><D:supported-report-set/>").props()
    assert props[D + "sync-token"].text == token(sync(dav))
    assert props[D + "supported-report-set"].find(f".//{D}sync-collection") is not None
    root = dav.propfind("/dav/", "<D:sync-token/><D:supported-report-set/>")
    assert D + "sync-token" not in root.props()
    assert root.props()[D + "supported-report-set"].find(f".//{D}sync-collection") is None


def test_a_changed_task_names_its_list_alone(dav: Door) -> None:
    before = token(sync(dav))
    dav.put("a.ics", vtodo("a"))
    assert set(sync(dav, before).members()) == {f"{HOME}/personal/"}


def test_a_stored_property_names_its_list(dav: Door) -> None:
    before = token(sync(dav))
    order = (
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><calendar-order '
        'xmlns="http://apple.com/ns/ical/">7</calendar-order></D:prop></D:set></D:propertyupdate>'
    )
    assert dav("PROPPATCH", f"{HOME}/requests/", order).status == 207
    reply = sync(dav, before)
    assert set(reply.members()) == {f"{HOME}/requests/"}
    assert reply.props()[A + "calendar-order"].text == "7"


def test_a_list_that_came_and_went_is_told(dav: Door) -> None:
    empty = token(sync(dav, home=BOBS, user=BOB))
    dav.house.team(bob=Role.MEMBER)
    came = sync(dav, empty, home=BOBS, user=BOB)
    assert set(came.members()) == {f"{BOBS}/{LIST}/"}
    dav.house.done(SetMember(actor=actor(ALICE), project=TEAM, user=BOB, role=None))
    went = sync(dav, token(came), home=BOBS, user=BOB)
    assert "404" in (went.members()[f"{BOBS}/{LIST}/"].findtext(f"{D}status") or "")
    assert sync(dav, token(went), home=BOBS, user=BOB).members() == {}


def test_a_limited_sync_goes_on_from_its_token(dav: Door) -> None:
    dav.house.team()
    seen: set[str] = set()
    at, rounds, more = "", 0, True
    while more:
        reply = sync(dav, at, "<limit><nresults>1</nresults></limit>")
        members = reply.members()
        more = f"{HOME}/" in members
        if more:
            assert "507" in (members[f"{HOME}/"].findtext(f"{D}status") or "")
            condition = members[f"{HOME}/"].find(f"{D}error/{D}number-of-matches-within-limits")
            assert condition is not None
        seen |= members.keys()
        at, rounds = token(reply), rounds + 1
    assert seen == {f"{HOME}/", f"{HOME}/personal/", f"{HOME}/requests/", f"{HOME}/{LIST}/"}
    assert rounds == 3


def forged(content: object, size: int = 0) -> str:
    packed = zlib.compress(json.dumps(content).encode() + b" " * size)
    return "urn:tx-bridge:home:" + base64.urlsafe_b64encode(packed).decode()


@pytest.mark.parametrize(
    "text",
    [
        "urn:tx-bridge:sync:alice@home.example:1:all",
        "urn:tx-bridge:home:",
        "urn:tx-bridge:home:!!!",
        "urn:tx-bridge:home:" + base64.urlsafe_b64encode(b"no zlib").decode(),
        forged([1, 2]),
        forged({"a": 1}),
        forged({"a/../b": "x"}),
        forged({str(n): "x" for n in range(2000)}),
        forged({}, size=50_000_000),
        forged({"a": "x"})[:-8],
    ],
)
def test_a_token_that_cannot_be_is_named_invalid(dav: Door, text: str) -> None:
    reply = sync(dav, text)
    assert reply.status == 403
    assert D + "valid-sync-token" in reply.conditions()


def test_names_in_a_forged_token_are_only_told_as_gone(dav: Door) -> None:
    reply = sync(dav, forged({"<b>": "x"}))
    assert "404" in (reply.members()[f"{HOME}/<b>/"].findtext(f"{D}status") or "")
    assert sync(dav, token(reply)).members() == {}


def test_a_deep_sync_is_refused_by_name(dav: Door) -> None:
    for reply in (
        sync(dav, more="<sync-level>infinite</sync-level>"),
        dav("REPORT", f"{HOME}/", '<sync-collection xmlns="DAV:"/>', depth="infinity"),
    ):
        assert reply.status == 403
        assert D + "sync-traversal-supported" in reply.conditions()


def test_the_root_and_the_home_of_others_give_none(dav: Door) -> None:
    body = '<sync-collection xmlns="DAV:"><sync-token/><prop/></sync-collection>'
    assert D + "supported-report" in dav("REPORT", "/dav/", body).conditions()
    assert sync(dav, home=BOBS).status == 403
