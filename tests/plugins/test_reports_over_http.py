"""Listings and reports: PROPFIND, sync-collection, multiget, calendar-query."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from davdoor import CS, C, D, Door, vtodo
from house import BOB, TEAM

from bridge.model.patch import Role

HOME = "/dav/alice@home.example"
PERSONAL = f"{HOME}/personal"


def multiget(*hrefs: str, props: str = "<D:getetag/><C:calendar-data/>") -> str:
    listed = "".join(f"<D:href>{href}</D:href>" for href in hrefs)
    return (
        '<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
        f"<D:prop>{props}</D:prop>{listed}</C:calendar-multiget>"
    )


def query(inner: str, props: str = "<D:getetag/>") -> str:
    return (
        '<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
        f'<D:prop>{props}</D:prop><C:filter><C:comp-filter name="VCALENDAR">{inner}'
        "</C:comp-filter></C:filter></C:calendar-query>"
    )


def token_of(dav: Door, list_: str = "personal") -> str:
    return dav.sync(list_).xml.findtext(f"{D}sync-token") or ""


# -- PROPFIND ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/dav", "/dav/", "/principals/", "/calendar/dav/x/user/"])
def test_discovery_from_the_bare_address_finds_the_principal(dav: Door, path: str) -> None:
    reply = dav.propfind(path, "<D:current-user-principal/><D:resourcetype/>")
    assert reply.status == 207
    props = reply.props()
    assert props[D + "current-user-principal"].findtext(f"{D}href") == quote(f"{HOME}/")
    assert D + "resourcetype" in props


@pytest.mark.parametrize("path", ["/.well-known/caldav", "/.well-known/caldav/"])
def test_well_known_leads_to_the_door(dav: Door, path: str) -> None:
    reply = dav("PROPFIND", path, user=None)
    assert (reply.status, reply.headers["location"]) == (301, "/dav/")


def test_the_principal_names_one_home(dav: Door) -> None:
    props = dav.propfind(
        f"{HOME}/",
        "<C:calendar-home-set/><C:calendar-user-address-set/><D:principal-URL/><D:displayname/>",
    ).props()
    homes = props[C + "calendar-home-set"].findall(f"{D}href")
    assert [home.text for home in homes] == [quote(f"{HOME}/")]
    assert (
        props[C + "calendar-user-address-set"].findtext(f"{D}href") == "mailto:alice@home.example"
    )
    assert props[D + "displayname"].text


def test_the_home_shows_own_project_memberships_and_requests(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER)
    list_ = TEAM.partition("@")[0]
    alices = dav.propfind(f"{HOME}/", "<D:displayname/>", depth="1").members()
    assert set(alices) == {f"{HOME}/", f"{PERSONAL}/", f"{HOME}/{list_}/", f"{HOME}/requests/"}
    bobs = "/dav/bob@home.example"
    seen = dav.propfind(f"{bobs}/", "<D:displayname/>", depth="1", user=BOB)
    assert set(seen.members()) == {
        f"{bobs}/", f"{bobs}/personal/", f"{bobs}/{list_}/", f"{bobs}/requests/"
    }  # fmt: skip
    assert seen.props(f"{bobs}/{list_}/")[D + "displayname"].text == "Team"


def test_a_list_answers_what_every_client_needs(dav: Door) -> None:
    props = dav.propfind(
        f"{PERSONAL}/",
        "<D:resourcetype/><D:displayname/><D:owner/><D:current-user-privilege-set/>"
        "<D:supported-report-set/><C:supported-calendar-component-set/><CS:getctag/>"
        "<D:sync-token/><C:max-resource-size/>",
    ).props()
    assert props[D + "resourcetype"].find(f"{C}calendar") is not None
    components = [c.get("name") for c in props[C + "supported-calendar-component-set"]]
    assert components == ["VTODO"]
    privileges = {p.tag for p in props[D + "current-user-privilege-set"].findall(f"{D}privilege/*")}
    assert {D + "write", D + "write-content", D + "bind", D + "unbind"} <= privileges
    assert ":" in (props[D + "sync-token"].text or "")
    assert props[CS + "getctag"].text == props[D + "sync-token"].text
    assert props[D + "owner"].findtext(f"{D}href") == quote(f"{HOME}/")


def test_unknown_properties_come_as_404_or_not_at_all_under_minimal(dav: Door) -> None:
    reply = dav.propfind(f"{PERSONAL}/", "<D:quota-used-bytes/><D:owner/>")
    assert b"404 Not Found" in reply.body
    assert b"quota-used-bytes" in reply.body
    for header in ({"prefer": "return=minimal"}, {"brief": "t"}):
        reply = dav.propfind(f"{PERSONAL}/", "<D:quota-used-bytes/><D:owner/>", **header)
        assert b"404" not in reply.body
        assert D + "owner" in reply.props()


def test_allprop_and_propname_are_answered(dav: Door) -> None:
    assert D + "resourcetype" in dav("PROPFIND", f"{PERSONAL}/", b"", depth="0").props()
    names = '<propfind xmlns="DAV:"><propname/></propfind>'
    assert D + "sync-token" in dav("PROPFIND", f"{PERSONAL}/", names, depth="0").props()


def test_infinite_depth_is_refused_by_name(dav: Door) -> None:
    reply = dav.propfind(f"{HOME}/", "<D:owner/>", depth="infinity")
    assert reply.status == 403
    assert D + "propfind-finite-depth" in reply.conditions()


def test_the_ctag_moves_with_each_change_and_with_nothing_else(dav: Door) -> None:
    before = token_of(dav)
    assert token_of(dav) == before
    dav.put("u1.ics", vtodo("u1"))
    after = token_of(dav)
    assert after != before
    dav("GET", f"{PERSONAL}/u1.ics")
    assert token_of(dav) == after


def test_options_needs_no_login_and_claims_only_what_is_true(dav: Door) -> None:
    reply = dav("OPTIONS", f"{PERSONAL}/", user=None)
    assert reply.status == 200
    classes = {part.strip() for part in reply.headers["dav"].split(",")}
    assert "calendar-access" in classes
    assert "2" not in classes
    assert "addressbook" not in classes


def test_a_task_answers_its_properties(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    asked = (
        "<D:getetag/><D:getcontenttype/><D:getcontentlength/><D:getlastmodified/>"
        "<D:resourcetype/><D:owner/><D:current-user-privilege-set/><D:nothing/>"
    )
    reply = dav.propfind(f"{PERSONAL}/u1.ics", asked)
    props = reply.props(f"{PERSONAL}/u1.ics")
    assert props[D + "getetag"].text == dav("GET", f"{PERSONAL}/u1.ics").headers["etag"]
    assert props[D + "getcontentlength"].text == str(len(vtodo("u1")))
    assert "component=VTODO" in (props[D + "getcontenttype"].text or "")
    assert (props[D + "getlastmodified"].text or "").endswith("GMT")
    assert len(props[D + "resourcetype"]) == 0
    assert D + "nothing" not in props
    assert b"404 Not Found" in reply.body
    assert dav.propfind(f"{PERSONAL}/no.ics", asked).status == 404


def test_allprop_of_a_task_leaves_its_text_out(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    reply = dav("PROPFIND", f"{PERSONAL}/", b"", depth="1")
    assert D + "getetag" in reply.props(f"{PERSONAL}/u1.ics")
    assert b"BEGIN:VCALENDAR" not in reply.body


def test_a_listing_gives_no_texts_and_says_so(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    reply = dav.propfind(f"{PERSONAL}/", "<D:getetag/><C:calendar-data/>", depth="1")
    assert D + "getetag" in reply.props(f"{PERSONAL}/u1.ics")
    missing = reply.members()[f"{PERSONAL}/u1.ics"].findall(f"{D}propstat")[1]
    assert missing.find(f"{D}prop/{C}calendar-data") is not None


def test_a_listing_of_unknown_properties_is_well_formed(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    plain = dav.propfind(f"{PERSONAL}/", "<D:nothing/>", depth="1")
    assert b"404" in plain.body
    short = dav.propfind(f"{PERSONAL}/", "<D:nothing/>", depth="1", brief="t")
    assert set(short.members()) == {f"{PERSONAL}/", f"{PERSONAL}/u1.ics"}
    assert b"404" not in short.body


def test_the_root_shows_the_home(dav: Door) -> None:
    reply = dav.propfind("/dav/", "<D:resourcetype/>", depth="1")
    assert set(reply.members()) == {"/dav/", f"{HOME}/"}


def test_a_path_too_deep_or_unknown_is_404(dav: Door) -> None:
    for path in (f"{PERSONAL}/a/b/", f"{HOME}/nowhere/", f"{HOME}/nowhere/x.ics"):
        assert dav.propfind(path, "<D:owner/>").status == 404


def test_get_of_a_list_is_a_line_for_people_not_a_calendar(dav: Door) -> None:
    for path in ("/dav/", f"{HOME}/", f"{PERSONAL}/"):
        reply = dav("GET", path)
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/plain")
        assert b"VCALENDAR" not in reply.body


# -- sync-collection ---------------------------------------------------------------------


def test_an_initial_sync_lists_live_members_only(dav: Door) -> None:
    for uid in ("a", "b", "c"):
        dav.put(f"{uid}.ics", vtodo(uid))
    dav("DELETE", f"{PERSONAL}/b.ics")
    assert set(dav.sync().members()) == {f"{PERSONAL}/a.ics", f"{PERSONAL}/c.ics"}


def test_a_later_sync_tells_what_changed_and_what_went(dav: Door) -> None:
    for uid in ("a", "b", "c"):
        dav.put(f"{uid}.ics", vtodo(uid))
    token = token_of(dav)
    dav.put("a.ics", vtodo("a", summary="changed"))
    dav("DELETE", f"{PERSONAL}/b.ics")
    dav.put("d.ics", vtodo("d"))
    reply = dav.sync(token=token, depth="0")
    assert set(reply.members()) == {f"{PERSONAL}/{n}.ics" for n in "abd"}
    gone = reply.members()[f"{PERSONAL}/b.ics"]
    assert "404" in (gone.findtext(f"{D}status") or "")
    assert reply.props(f"{PERSONAL}/a.ics")[D + "getetag"].text
    again = dav.sync(token=reply.xml.findtext(f"{D}sync-token") or "")
    assert again.members() == {}


def test_a_member_changed_and_removed_comes_once_as_removed(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    token = token_of(dav)
    dav.put("a.ics", vtodo("a", summary="changed"))
    dav("DELETE", f"{PERSONAL}/a.ics")
    reply = dav.sync(token=token)
    assert len(reply.xml.findall(f"{D}response")) == 1
    assert "404" in (reply.members()[f"{PERSONAL}/a.ics"].findtext(f"{D}status") or "")


def test_a_limited_sync_ends_with_507_and_goes_on_from_its_token(dav: Door) -> None:
    for uid in "abcde":
        dav.put(f"{uid}.ics", vtodo(uid))
    seen: set[str] = set()
    token, rounds = "", 0
    while True:
        reply = dav.sync(token=token, more="<limit><nresults>2</nresults></limit>")
        members = reply.members()
        seen |= {href for href in members if href.endswith(".ics")}
        token, rounds = reply.xml.findtext(f"{D}sync-token") or "", rounds + 1
        if f"{PERSONAL}/" not in members:
            break
        assert "507" in (members[f"{PERSONAL}/"].findtext(f"{D}status") or "")
    assert seen == {f"{PERSONAL}/{n}.ics" for n in "abcde"}
    assert rounds == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "http://example.org/unknown",
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.replace(":3:", ":9999:"),
        lambda token: token.replace("alice@", "bob@"),
        lambda token: token.replace(":all", ":own"),
        lambda _: "urn:tx-bridge:sync:alice@home.example:-1:all",
        lambda _: "urn:tx-bridge:sync:alice@home.example:" + "9" * 40 + ":all",
    ],
)
def test_a_token_that_was_never_given_out_is_named_invalid(dav: Door, change: object) -> None:
    dav.put("a.ics", vtodo("a"))
    token = change(token_of(dav))  # type: ignore[operator]  # a lambda of the parameter list
    reply = dav.sync(token=token)
    assert reply.status == 403
    assert D + "valid-sync-token" in reply.conditions()


def test_a_sync_may_ask_for_the_texts(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    body = (
        '<sync-collection xmlns="DAV:"><sync-token/><prop><getetag/>'
        '<calendar-data xmlns="urn:ietf:params:xml:ns:caldav"/></prop></sync-collection>'
    )
    props = dav.report("personal", body).props(f"{PERSONAL}/a.ics")
    assert "UID:a" in (props[C + "calendar-data"].text or "")


# -- multiget ----------------------------------------------------------------------------


def test_multiget_answers_each_href_and_404_for_the_missing(dav: Door) -> None:
    dav.put("a.ics", vtodo("a", summary="A <b> & c"))
    base = "/dav/alice%40home.example/personal"
    reply = dav.report(
        "personal",
        multiget(
            f"{base}/a.ics",
            f"{base}/missing.ics",
            f"http://home.example{base}/a.ics",
            "/dav/bob%40home.example/personal/a.ics",
            "/etc/passwd",
            "",
        ),
    )
    assert reply.status == 207
    members = {r.findtext(f"{D}href"): r for r in reply.xml.findall(f"{D}response")}
    assert len(members) == 6
    assert "404" in (members[f"{base}/missing.ics"].findtext(f"{D}status") or "")
    assert "404" in (members["/etc/passwd"].findtext(f"{D}status") or "")
    data = members[f"{base}/a.ics"].findtext(f"{D}propstat/{D}prop/{C}calendar-data") or ""
    assert data.replace("\n", "\r\n").encode() == vtodo("a", summary="A <b> & c")


def test_multiget_takes_unescaped_hrefs_too(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    reply = dav.report("personal", multiget(f"{PERSONAL}/a.ics"))
    assert reply.xml.find(f".//{C}calendar-data") is not None


def test_a_report_on_a_task_means_its_list(dav: Door) -> None:
    dav.put("a.ics", vtodo("a"))
    reply = dav("REPORT", f"{PERSONAL}/a.ics", multiget(f"{PERSONAL}/a.ics"))
    assert reply.xml.find(f".//{C}calendar-data") is not None


def test_expand_property_answers_what_is_there(dav: Door) -> None:
    body = (
        '<expand-property xmlns="DAV:"><property name="owner"/><property name="a b"/>'
        '<property name="x" namespace="urn:x"/></expand-property>'
    )
    reply = dav("REPORT", f"{HOME}/", body)
    assert reply.status == 207
    assert D + "owner" in reply.props()
    assert b"404" in reply.body


# -- calendar-query ----------------------------------------------------------------------

OPEN = (
    '<C:comp-filter name="VTODO"><C:prop-filter name="COMPLETED"><C:is-not-defined/></C:prop-filter>'
    '<C:prop-filter name="STATUS"><C:text-match negate-condition="yes">CANCELLED</C:text-match>'
    "</C:prop-filter></C:comp-filter>"
)


def fill(dav: Door) -> None:
    dav.put("open.ics", vtodo("open", "STATUS:NEEDS-ACTION", "DUE:20300105T120000Z"))
    dav.put("done.ics", vtodo("done", "STATUS:COMPLETED", "COMPLETED:20260101T000000Z"))
    dav.put("off.ics", vtodo("off", "STATUS:CANCELLED", "DTSTART:20300101T000000Z"))
    dav.put("bare.ics", vtodo("bare", "CATEGORIES;X-W=1:Home,Garden"))
    dav.put("rec.ics", vtodo("rec", "DTSTART:20300101T090000Z", "RRULE:FREQ=WEEKLY;COUNT=5"))
    alarm = ("BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER;RELATED=END:-PT30M", "END:VALARM")
    dav.put("ring.ics", vtodo("ring", "DUE:20310601T120000Z", *alarm))


def todo(inner: str) -> str:
    return f'<C:comp-filter name="VTODO">{inner}</C:comp-filter>'


def ranged(start: str, end: str) -> str:
    return f'<C:time-range start="{start}" end="{end}"/>'


ALL = {"open", "done", "off", "bare", "rec", "ring"}


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ('<C:comp-filter name="VTODO"/>', ALL),
        ("", ALL),
        ('<C:comp-filter name="VEVENT"/>', set()),
        ('<C:comp-filter name="VEVENT"><C:is-not-defined/></C:comp-filter>', ALL),
        (todo("<C:is-not-defined/>"), set()),
        (OPEN, {"open"}),
        (
            todo('<C:prop-filter name="completed"><C:is-not-defined/></C:prop-filter>'),
            ALL - {"done"},
        ),
        (todo('<C:prop-filter name="COMPLETED"/>'), {"done"}),
        (
            todo('<C:prop-filter name="UID"><C:text-match>OPEN</C:text-match></C:prop-filter>'),
            {"open"},
        ),
        (
            todo(
                '<C:prop-filter name="UID"><C:text-match collation="i;octet">OPEN</C:text-match>'
                "</C:prop-filter>"
            ),
            set(),
        ),
        (
            todo(
                '<C:prop-filter name="CATEGORIES"><C:param-filter name="x-w">'
                "<C:text-match>1</C:text-match></C:param-filter></C:prop-filter>"
            ),
            {"bare"},
        ),
        (
            todo(
                '<C:prop-filter name="CATEGORIES"><C:param-filter name="X-NO"><C:is-not-defined/>'
                "</C:param-filter></C:prop-filter>"
            ),
            {"bare"},
        ),
        (todo(ranged("20300101T000000Z", "20300110T000000Z")), {"open", "off", "bare", "rec"}),
        (todo(ranged("20300115T000000Z", "20300116T000000Z")), {"rec", "bare"}),
        (todo(ranged("20310101T000000Z", "20320101T000000Z")), {"ring", "bare"}),
        (todo('<C:comp-filter name="VALARM"/>'), {"ring"}),
        (todo('<C:comp-filter name="VALARM"><C:is-not-defined/></C:comp-filter>'), ALL - {"ring"}),
        (
            todo(
                f'<C:comp-filter name="VALARM">{ranged("20310601T110000Z", "20310601T120000Z")}'
                "</C:comp-filter>"
            ),
            {"ring"},
        ),
        (
            todo(
                f'<C:comp-filter name="VALARM">{ranged("20310601T114500Z", "20310601T120000Z")}'
                "</C:comp-filter>"
            ),
            set(),
        ),
        (
            todo(
                f'<C:prop-filter name="DUE">{ranged("20300101T000000Z", "20300201T000000Z")}'
                "</C:prop-filter>"
            ),
            {"open"},
        ),
    ],
)
@pytest.mark.parametrize("props", ["<D:getetag/>", "<C:calendar-data/>"])
def test_a_query_finds_exactly_what_it_asks_for(
    dav: Door, inner: str, found: set[str], props: str
) -> None:
    fill(dav)
    reply = dav.report("personal", query(inner, props), depth="0")
    assert reply.status == 207
    assert {href.rpartition("/")[2][:-4] for href in reply.members()} == found


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        (todo(ranged("20300110T000000Z", "20300101T000000Z")), "valid-filter"),
        (todo("<C:time-range/>"), "valid-filter"),
        (todo(ranged("2030-01-10", "20300101T000000Z")), "valid-filter"),
        (todo(ranged("20301310T000000Z", "20311310T000000Z")), "valid-filter"),
        (
            todo(
                '<C:prop-filter name="UID"><C:text-match collation="x">a</C:text-match></C:prop-filter>'
            ),
            "supported-collation",
        ),
        ("<C:comp-filter/>", "valid-filter"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_name(dav: Door, inner: str, condition: str) -> None:
    reply = dav.report("personal", query(inner))
    assert reply.status == 403
    assert C + condition in reply.conditions()


# -- hostile XML -------------------------------------------------------------------------

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><propfind xmlns="DAV:"><prop>&c;</prop></propfind>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<propfind xmlns="DAV:"><prop><displayname>&x;</displayname></prop></propfind>'
)


@pytest.mark.parametrize("method", ["PROPFIND", "REPORT", "PROPPATCH", "MKCALENDAR", "MKCOL"])
@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        OUTSIDE,
        "<a>",
        "hello",
        "<a xmlns='DAV:'>" + "<b>" * 1000 + "</b>" * 1000 + "</a>",
        '<?xml version="1.0" encoding="rot13"?><a/>',
        '<?xml version="1.0" encoding="utf-7"?><a/>',
    ],
)
def test_hostile_xml_is_refused(dav: Door, method: str, body: str) -> None:
    path = f"{HOME}/made/" if method.startswith("MK") else f"{PERSONAL}/"
    reply = dav(method, path, body)
    assert reply.status == 400 or (method == "MKCOL" and reply.status == 403)
    assert b"root:" not in reply.body


def test_a_report_nobody_knows_is_refused(dav: Door) -> None:
    reply = dav.report("personal", '<x:unknown xmlns:x="urn:x"/>')
    assert reply.status in {403, 207}
    assert dav("REPORT", f"{PERSONAL}/", b"").status == 400
