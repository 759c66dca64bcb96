"""Other people's principals, the search for them, expand-property (RFC 3744, RFC 3253)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from davdoor import CS, C, D, Door, Reply, vtodo
from house import ALICE, BOB, CAROL, TEAM, actor

from bridge.model.ids import Address
from bridge.model.patch import Role
from bridge.store.directory_records import User
from bridge.worker.command import SetMember

HOME = "/dav/alice@home.example"
BOBS = "/dav/bob@home.example/"
SPACES = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:CS="http://calendarserver.org/ns/"'


def condition(text: str, prop: str = "<D:displayname/>", attributes: str = "") -> str:
    return (
        f"<D:property-search><D:prop>{prop}</D:prop><D:match{attributes}>{text}</D:match>"
        "</D:property-search>"
    )


def search(dav: Door, inner: str, path: str = "/dav/", **headers: Any) -> Reply:
    body = (
        f"<D:principal-property-search {SPACES}{headers.pop('test', '')}>{inner}<D:prop>"
        "<D:displayname/><C:calendar-user-address-set/></D:prop></D:principal-property-search>"
    )
    return dav("REPORT", path, body, depth="0", **headers)


def name(dav: Door, user: Address, text: str) -> None:
    people = dav.gateway.directory.people
    people.describe(user, name=text, language="en", time_zone="UTC")


# -- whom one may know -------------------------------------------------------------------


def test_who_shares_a_project_is_found_by_name(dav: Door) -> None:
    name(dav, BOB, "Robert <Tables>")
    assert search(dav, condition("robert")).members() == {}
    dav.house.team(bob=Role.GUEST)
    found = search(dav, condition("rObErT"))
    assert set(found.members()) == {BOBS}
    props = found.props()
    assert props[D + "displayname"].text == "Robert <Tables>"
    addresses = [unquote(h.text or "") for h in props[C + "calendar-user-address-set"]]
    assert addresses == ["mailto:bob@home.example", BOBS]


def test_searching_by_letters_never_lists_the_domain(dav: Door) -> None:
    for text in ("home.example", "@", "mailto:", "b"):
        for prop in ("<CS:email-address-set/>", "<C:calendar-user-address-set/>"):
            assert BOBS not in search(dav, condition(text, prop)).members()


@pytest.mark.parametrize("text", ["bob@home.example", "mailto:Bob@Home.Example"])
def test_a_whole_address_finds_its_owner(dav: Door, text: str) -> None:
    found = search(dav, condition(text, "<C:calendar-user-address-set/>"))
    assert set(found.members()) == {BOBS}
    assert search(dav, condition("nobody@home.example", "<CS:email-address-set/>")).members() == {}
    other = condition("mallory@evil.example", "<CS:email-address-set/>")
    assert search(dav, other).members() == {}


def test_a_disabled_user_is_not_found(dav: Door) -> None:
    dav.gateway.directory.people.disable(BOB, datetime(2026, 1, 1, tzinfo=UTC))
    dav.house.team(bob=Role.MEMBER)
    assert search(dav, condition("bob@home.example", "<CS:email-address-set/>")).members() == {}


def test_all_conditions_count_unless_any_is_enough(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER, carol=Role.MEMBER)
    both = condition("bob@home") + condition("carol@home")
    assert search(dav, both).members() == {}
    either = search(dav, both, test=' test="anyof"')
    assert set(either.members()) == {BOBS, "/dav/carol@home.example/"}
    unknown = condition("bob", "<D:displayname/><D:owner/>")
    assert search(dav, unknown).members() == {}


@pytest.mark.parametrize(
    ("how", "text", "found"),
    [("equals", "robert", False), ("equals", "robert t", True), ("starts-with", "rob", True),
     ("starts-with", "ert", False), ("contains", "ert", True)],
)  # fmt: skip
def test_a_match_is_of_the_kind_that_was_asked(
    dav: Door, how: str, text: str, *, found: bool
) -> None:
    name(dav, BOB, "Robert T")
    dav.house.team(bob=Role.MEMBER)
    reply = search(dav, condition(text, attributes=f' match-type="{how}"'))
    assert (BOBS in reply.members()) is found


def test_more_people_than_an_answer_holds_end_it_with_507(dav: Door) -> None:
    dav.house.team()
    for number in range(101):
        user = Address(f"u{number}@home.example")
        dav.gateway.directory.people.add(User(address=user, name="Same", created=dav.house.now))
        dav.house.done(SetMember(actor=actor(ALICE), project=TEAM, user=user, role=Role.GUEST))
    members = search(dav, condition("same")).members()
    assert len(members) == 101
    assert "507" in (members["/dav/"].findtext(f"{D}status") or "")
    assert members["/dav/"].find(f"{D}error/{D}number-of-matches-within-limits") is not None


def test_what_can_be_searched_is_told(dav: Door) -> None:
    body = '<D:principal-search-property-set xmlns:D="DAV:"/>'
    for path in ("/dav/", "/principals/", f"{HOME}/"):
        reply = dav("REPORT", path, body)
        assert reply.status == 200
        assert reply.xml.tag == D + "principal-search-property-set"
        tags = {p.tag for p in reply.xml.findall(f"{D}principal-search-property/{D}prop/*")}
        assert tags == {
            D + "displayname", CS + "email-address-set", C + "calendar-user-address-set"
        }  # fmt: skip


@pytest.mark.parametrize(
    "inner",
    ["", condition(""), "<D:property-search/>", condition("x", ""), condition("x") * 51],
)
def test_a_search_without_sense_is_refused(dav: Door, inner: str) -> None:
    assert search(dav, inner).status == 400


def test_people_are_not_searched_in_a_list(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    reply = search(dav, condition("x"), path=f"{HOME}/personal/")
    assert reply.status == 403
    assert D + "supported-report" in reply.conditions()


# -- principals of others ----------------------------------------------------------------

ASKED = "<D:displayname/><D:resourcetype/><C:calendar-home-set/><C:calendar-user-type/>"


def test_a_colleagues_principal_tells_who_it_is_and_nothing_inside(dav: Door) -> None:
    assert dav.propfind(BOBS, ASKED).status == 403
    dav.house.team(bob=Role.MEMBER)
    reply = dav.propfind(BOBS, ASKED)
    assert reply.status == 207
    props = reply.props()
    assert props[D + "displayname"].text == BOB
    assert props[D + "resourcetype"].find(f"{D}collection") is None
    assert props[C + "calendar-user-type"].text == "INDIVIDUAL"
    assert C + "calendar-home-set" not in props
    deep = dav.propfind(BOBS, ASKED, depth="1")
    assert set(deep.members()) == {BOBS}
    for method in ("GET", "PROPPATCH", "DELETE", "REPORT", "PUT"):
        assert dav(method, BOBS).status == 403
    assert dav.propfind(f"{BOBS}personal/", ASKED).status == 403
    assert dav.propfind(f"/dav/{CAROL}/", ASKED).status == 403
    names = '<propfind xmlns="DAV:"><propname/></propfind>'
    assert D + "displayname" in dav("PROPFIND", BOBS, names).props()


# -- expand-property ---------------------------------------------------------------------


def expand(dav: Door, path: str, inner: str, **headers: Any) -> Reply:
    return dav(
        "REPORT", path, f'<expand-property xmlns="DAV:">{inner}</expand-property>', **headers
    )


def test_a_property_that_names_a_principal_is_expanded(dav: Door) -> None:
    name(dav, BOB, "Bob")
    dav.house.team(bob=Role.MEMBER)
    segment = TEAM.partition("@")[0]
    reply = expand(
        dav,
        f"/dav/bob@home.example/{segment}/",
        '<property name="owner"><property name="displayname"/></property>'
        '<property name="current-user-principal"><property name="displayname"/>'
        '<property name="calendar-home-set" namespace="urn:ietf:params:xml:ns:caldav">'
        '<property name="displayname"/></property></property>',
        user=BOB,
    )
    props = reply.props()
    owner = props[D + "owner"].find(f"{D}response")
    assert owner is not None
    assert unquote(owner.findtext(f"{D}href") or "") == f"{HOME}/"
    assert owner.findtext(f"{D}propstat/{D}prop/{D}displayname") == "alice@home.example"
    me = props[D + "current-user-principal"]
    inner = me.find(f"{D}response//{C}calendar-home-set/{D}response")
    assert inner is not None
    assert inner.findtext(f"{D}propstat/{D}prop/{D}displayname") == "Bob"


def test_without_inner_properties_an_href_stays(dav: Door) -> None:
    props = expand(dav, f"{HOME}/", '<property name="owner"/><property name="nothing"/>').props()
    assert unquote(props[D + "owner"].findtext(f"{D}href") or "") == f"{HOME}/"
    assert D + "nothing" not in props


def test_a_task_and_what_is_not_there(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    inner = '<property name="owner"><property name="displayname"/></property>'
    reply = expand(dav, f"{HOME}/personal/a.ics", inner)
    assert reply.props()[D + "owner"].find(f"{D}response") is not None
    assert expand(dav, f"{HOME}/nowhere/", inner).status == 404


def test_hrefs_that_lead_elsewhere_stay_as_they_are(dav: Door) -> None:
    hrefs = (
        "/etc/passwd", "/dav/../x", "/dav/bob@home.example/", "/dav/%FF/", "mailto:x@y.example",
        f"{HOME}/nowhere/", f"{HOME}/personal/no.ics", "",
    )  # fmt: skip
    listed = "".join(f"<D:href>{href}</D:href>" for href in hrefs)
    store(dav, listed)
    reply = expand(
        dav, f"{HOME}/personal/",
        '<property name="x" namespace="urn:x"><property name="displayname"/></property>',
    )  # fmt: skip
    left = [h.text or "" for h in reply.props()["{urn:x}x"].findall(f"{D}href")]
    assert left == list(hrefs)


def store(dav: Door, inner: str) -> None:
    body = (
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><X:x xmlns:X="urn:x">'
        f"{inner}</X:x></D:prop></D:set></D:propertyupdate>"
    )
    assert dav("PROPPATCH", f"{HOME}/personal/", body).status == 207


@pytest.mark.timeout(20)
def test_a_property_that_names_itself_ends(dav: Door) -> None:
    store(dav, f"<D:href>{HOME}/personal/</D:href>" * 20)
    inner = ""
    for _ in range(20):
        inner = f'<property name="x" namespace="urn:x">{inner}</property>'
    reply = expand(dav, f"{HOME}/personal/", inner)
    assert reply.status == 207
    assert reply.body.count(b"response>") <= 2 * 501
