"""Create, read, overwrite, delete and move a task, with their preconditions."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from davdoor import C, D, Door, calendar, vtodo
from house import ALICE, BOB, CAROL, TEAM, actor
from house import HOME as PROJECT

from bridge.model.patch import Role
from bridge.worker.command import Refused, SetKeys

HOME = "/dav/alice%40home.example"
PERSONAL = f"{HOME}/personal"


def test_a_new_task_is_created_with_its_bytes_and_a_strong_etag(dav: Door) -> None:
    sent = vtodo("u1")
    reply = dav.put("u1.ics", sent, if_none_match="*")
    assert reply.status == 201
    read = dav("GET", f"{PERSONAL}/u1.ics")
    assert (read.status, read.body) == (200, sent)
    assert re.fullmatch(r'"[0-9a-f]{32}"', reply.headers["etag"])
    assert read.headers["etag"] == reply.headers["etag"]
    assert read.headers["content-type"].startswith("text/calendar")


def test_head_answers_whatever_is_accepted(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    reply = dav("HEAD", f"{PERSONAL}/u1.ics", accept="application/pdf")
    assert (reply.status, reply.body) == (200, b"")


def test_a_second_creation_under_the_same_name_is_refused(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    assert dav.put("u1.ics", vtodo("u1", summary="Other"), if_none_match="*").status == 412
    assert b"Buy milk" in dav("GET", f"{PERSONAL}/u1.ics").body


def test_put_with_the_current_etag_overwrites(dav: Door) -> None:
    etag = dav.put("u1.ics", vtodo("u1")).headers["etag"]
    changed = vtodo("u1", summary="Buy bread")
    reply = dav.put("u1.ics", changed, if_match=etag)
    assert reply.status == 204
    assert reply.headers["etag"] != etag
    assert dav("GET", f"{PERSONAL}/u1.ics").body == changed


def test_put_with_one_of_several_etags_overwrites(dav: Door) -> None:
    etag = dav.put("u1.ics", vtodo("u1")).headers["etag"]
    assert dav.put("u1.ics", vtodo("u1", summary="B"), if_match=f'"other", {etag}').status == 204


@pytest.mark.parametrize("etag", ['"stale"', "nothing", 'W/"0"', ""])
def test_put_with_stale_etag_is_refused(dav: Door, etag: str) -> None:
    dav.put("u1.ics", vtodo("u1"))
    assert dav.put("u1.ics", vtodo("u1", summary="Lost"), if_match=etag or '""').status == 412
    assert b"Lost" not in dav("GET", f"{PERSONAL}/u1.ics").body


def test_put_with_an_etag_where_nothing_is_is_refused(dav: Door) -> None:
    assert dav.put("u1.ics", vtodo("u1"), if_match='"any"').status == 412
    assert dav.put("u1.ics", vtodo("u1"), if_match="*").status == 412
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404


def test_bare_put_on_an_existing_name_is_an_update(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    assert dav.put("u1.ics", vtodo("u1", summary="Buy bread")).status == 204
    assert b"Buy bread" in dav("GET", f"{PERSONAL}/u1.ics").body


def test_get_with_the_known_etag_answers_not_modified(dav: Door) -> None:
    etag = dav.put("u1.ics", vtodo("u1")).headers["etag"]
    reply = dav("GET", f"{PERSONAL}/u1.ics", if_none_match=f'W/{etag}, "x"')
    assert (reply.status, reply.body) == (304, b"")
    assert dav("GET", f"{PERSONAL}/u1.ics", if_none_match='"x"').status == 200


def test_delete_hides_the_task_and_keeps_its_history(dav: Door) -> None:
    etag = dav.put("u1.ics", vtodo("u1")).headers["etag"]
    row = dav.gateway.index.row(PROJECT, "u1.ics")
    assert row is not None
    assert dav("DELETE", f"{PERSONAL}/u1.ics", if_match='"stale"').status == 412
    assert dav("DELETE", f"{PERSONAL}/u1.ics", if_match=etag).status == 204
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404
    assert dav("DELETE", f"{PERSONAL}/u1.ics").status == 404
    assert len(dav.gateway.index.history(row.project, row.task, before=None, limit=9)) == 2


def test_a_deleted_task_can_be_made_again(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    dav("DELETE", f"{PERSONAL}/u1.ics")
    assert dav.put("u1.ics", vtodo("u1", summary="Again"), if_none_match="*").status == 201
    assert b"Again" in dav("GET", f"{PERSONAL}/u1.ics").body


# -- exactness ---------------------------------------------------------------------------


def test_no_etag_where_the_stored_text_is_not_what_was_sent(dav: Door) -> None:
    first = vtodo("u1", "CONTACT:c1", "CONTACT:c2", "X-FOO;X-P=1:a\\,b")
    dav.put("u1.ics", first)
    lossy = vtodo("u1", "CONTACT:c2", summary="Edited")
    reply = dav.put("u1.ics", lossy)
    assert reply.status == 204
    assert "etag" not in reply.headers
    kept = dav("GET", f"{PERSONAL}/u1.ics").body
    assert b"CONTACT:c1" in kept
    assert b"X-FOO;X-P=1:a\\,b" in kept
    assert b"SUMMARY:Edited" in kept


def test_everything_a_client_sends_is_kept_byte_for_byte(dav: Door) -> None:
    sent = calendar(
        "BEGIN:VTIMEZONE",
        "TZID:Europe/Berlin",
        "X-TZINFO:Europe/Berlin[2026f]",
        "BEGIN:STANDARD",
        "TZOFFSETTO:+010000",
        "TZOFFSETFROM:+005328",
        "DTSTART:18930401T000000",
        "END:STANDARD",
        "END:VTIMEZONE",
        "BEGIN:VTODO",
        "uid:u1",
        "DTSTAMP:20261120T120000Z",
        'X-ODD;X-A="q:;,";X-B=^n^\':v\\;\\,\\n',
        "SUMMARY;LANGUAGE=de:Grüße 买牛奶 🥛, ohne; Maskierung",
        "DESCRIPTION:a very long line that some client did not fold although RFC 5545 asks for it",
        "GEO:52.5;13.4",
        "DUE;TZID=Europe/Berlin:20300102T170000",
        "CATEGORIES:a,b",
        "CATEGORIES:c",
        "BEGIN:VALARM",
        "TRIGGER;VALUE=DATE-TIME:19760401T005545Z",
        "ACTION:NONE",
        "X-APPLE-PROXIMITY:ARRIVE",
        "END:VALARM",
        "END:VTODO",
    )
    reply = dav.put("u1.ics", sent)
    assert reply.status == 201
    assert "etag" in reply.headers
    assert dav("GET", f"{PERSONAL}/u1.ics").body == sent


def test_line_feeds_alone_are_taken_and_kept(dav: Door) -> None:
    sent = vtodo("u1").replace(b"\r\n", b"\n")
    reply = dav.put("u1.ics", sent)
    assert reply.status == 201
    assert dav("GET", f"{PERSONAL}/u1.ics").body == sent
    assert "etag" in reply.headers


def test_nothing_of_an_override_is_lost(dav: Door) -> None:
    rule = ("DTSTART:20300107T090000Z", "RRULE:FREQ=WEEKLY;COUNT=5")
    dav.put("u1.ics", vtodo("u1", *rule))
    sent = calendar(
        *("BEGIN:VTODO", "UID:u1", "DTSTAMP:20261120T120000Z", "SUMMARY:Weekly", *rule),
        "END:VTODO",
        *("BEGIN:VTODO", "UID:u1", "DTSTAMP:20261120T120000Z", "SUMMARY:Weekly"),
        *("RECURRENCE-ID:20300114T090000Z", "STATUS:COMPLETED", "X-MOZ-GENERATION:1"),
        *("COMPLETED:20300114T100000Z", "END:VTODO"),
    )
    reply = dav.put("u1.ics", sent)
    assert reply.status == 204
    assert "etag" not in reply.headers
    kept = dav("GET", f"{PERSONAL}/u1.ics").body
    assert kept.count(b"BEGIN:VTODO") == 1
    for line in (b"RRULE:FREQ=WEEKLY;COUNT=5", b"EXDATE:20300114T090000Z"):
        assert line in kept
    (name,) = [href for href in dav.sync().members() if not href.endswith("/u1.ics")]
    once = dav("GET", quote(name)).body
    assert once.count(b"BEGIN:VTODO") == 1
    for line in (b"STATUS:COMPLETED", b"X-MOZ-GENERATION:1", b"COMPLETED:20300114T100000Z"):
        assert line in once


def test_nul_and_other_characters_that_xml_cannot_hold_are_cleaned_without_an_etag(
    dav: Door,
) -> None:
    reply = dav.put("u1.ics", vtodo("u1", summary="a\x00b\x0bc"))
    assert reply.status == 201
    assert "etag" not in reply.headers
    assert b"SUMMARY:abc" in dav("GET", f"{PERSONAL}/u1.ics").body


def test_a_blind_put_changes_only_what_its_client_changed(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1", "LOCATION:Shop", "PRIORITY:5"))
    dav("GET", f"{PERSONAL}/u1.ics", user_agent="phone")
    row = dav.gateway.index.row(PROJECT, "u1.ics")
    assert row is not None
    changed = dav.house.do(
        SetKeys(actor=actor(), task=row.task, changes={"description": "Buy oat milk"})
    )
    assert not isinstance(changed, Refused)
    blind = vtodo("u1", "LOCATION:Market", "PRIORITY:5")
    assert dav.put("u1.ics", blind, user_agent="phone").status == 204
    merged = dav("GET", f"{PERSONAL}/u1.ics").body
    assert b"SUMMARY:Buy oat milk" in merged
    assert b"LOCATION:Market" in merged


# -- bad bodies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "condition"),
    [
        (b"", 403, "valid-calendar"),
        (b"hello", 403, "valid-calendar-data"),
        (b"\xff\xfe\x00", 403, "valid-calendar-data"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nEND:VCALENDAR\r\n", 403, "valid-calendar-data"),
        (calendar("BEGIN:VEVENT", "UID:e", "END:VEVENT"), 403, "supported-calendar-component"),
        (calendar("METHOD:REQUEST"), 403, "valid-calendar-object-resource"),
        (vtodo("u1") + vtodo("u2"), 403, "valid-calendar-object-resource"),
        (b"BEGIN:VCALENDAR\r\n" * 2000, 403, "valid-calendar-data"),
    ],
)
def test_a_body_that_is_no_task_is_refused_with_its_precondition(
    dav: Door, body: bytes, status: int, condition: str
) -> None:
    head = dav.gateway.index.head(PROJECT)
    reply = dav.put("u1.ics", body)
    assert reply.status == status
    assert any(tag.startswith(C + condition) for tag in reply.conditions())
    assert dav.gateway.index.head(PROJECT) == head
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (f"{PERSONAL}/u1.ics", b"hello", "valid-calendar-data"),
        (f"{PERSONAL}/u1.ics", b"x" * (17 * 1024 * 1024), "body-too-large"),
        (f"{PERSONAL}/%2e%2e/u1.ics", vtodo("u1"), "bad-request"),
        (f"{PERSONAL}/%ff.ics", vtodo("u1"), "bad-request"),
        (f"{HOME}/requests/u1.ics", vtodo("u1"), "forbidden"),
    ],
)
def test_a_refusal_is_in_the_event_log_once_with_its_reason(
    dav: Door, path: str, body: bytes, code: str
) -> None:
    dav("PUT", path, body, content_type="text/calendar")
    events = [event for event in dav.gateway.events.tail(9) if event["event"] == "refused"]
    assert [(event["actor"], event["door"], event["code"]) for event in events] == [
        (ALICE, "caldav", code)
    ]
    assert events[0]["reason"]


def test_another_media_type_is_refused(dav: Door) -> None:
    reply = dav("PUT", f"{PERSONAL}/u1.ics", b"{}", content_type="application/json")
    assert reply.status == 415
    assert C + "supported-calendar-data" in reply.conditions()


def test_a_hostile_charset_is_an_ordinary_refusal(dav: Door) -> None:
    reply = dav("PUT", f"{PERSONAL}/u1.ics", vtodo("u"), content_type="text/calendar;charset=rot13")
    assert reply.status == 415


def test_a_task_above_the_announced_size_is_refused(dav: Door) -> None:
    announced = dav.propfind(f"{PERSONAL}/", "<C:max-resource-size/>")
    limit = int(announced.props()[C + "max-resource-size"].text or "0")
    reply = dav.put("u1.ics", vtodo("u1", "X-BIG:" + "a" * limit))
    assert reply.status == 403
    assert C + "max-resource-size" in reply.conditions()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_30_mib_is_refused(dav: Door, *, chunked: bool) -> None:
    body = vtodo("u1", "X-BIG:" + "a" * 30 * 1024 * 1024)
    headers = {"content_length": "", "transfer_encoding": "chunked"} if chunked else {}
    reply = dav.put("u1.ics", body, **headers)
    assert reply.status == 413
    assert C + "max-resource-size" in reply.conditions()
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404


def test_an_endless_length_is_refused(dav: Door) -> None:
    for length in ("9" * 30, "-1", "x"):
        assert dav.put("u1.ics", b"x", content_length=length).status == 413


def test_a_chunked_body_is_taken(dav: Door) -> None:
    reply = dav.put("u1.ics", vtodo("u1"), content_length="", transfer_encoding="chunked")
    assert reply.status == 201
    assert dav("GET", f"{PERSONAL}/u1.ics").body == vtodo("u1")


def test_a_body_that_ends_early_writes_nothing(dav: Door) -> None:
    assert dav.put("u1.ics", vtodo("u1"), content_length="5000").status == 400
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404


def test_a_uid_used_elsewhere_in_the_list_is_a_conflict_that_names_its_task(dav: Door) -> None:
    dav.put("first name.ics", vtodo("u1"))
    reply = dav.put("second.ics", vtodo("u1"))
    assert reply.status == 409
    conflict = reply.xml.find(f"{C}no-uid-conflict/{D}href")
    assert conflict is not None
    assert conflict.text == f"{PERSONAL}/first%20name.ics"


def test_a_name_keeps_its_uid(dav: Door) -> None:
    dav.put("a.ics", vtodo("u1"))
    reply = dav.put("a.ics", vtodo("u2"))
    assert reply.status == 409
    assert C + "no-uid-conflict" in reply.conditions()


def test_put_into_a_missing_list_is_a_conflict_not_a_404(dav: Door) -> None:
    assert dav.put("u1.ics", vtodo("u1"), list_="nowhere").status == 409


@pytest.mark.parametrize("path", ["/", "/dav/", f"{HOME}/", f"{PERSONAL}/", f"{HOME}/new.ics"])
def test_put_on_a_collection_is_405_never_a_conflict(dav: Door, path: str) -> None:
    # 409 or 412 makes Thunderbird offer a calendar file there.
    assert dav("PUT", path, b"", if_match="nothing").status == 405


# -- moving ------------------------------------------------------------------------------


def test_move_between_projects_keeps_the_uid_and_answers_201(dav: Door) -> None:
    dav.house.team()
    dav.put("u1.ics", vtodo("u1", "X-KEEP:1"))
    there = f"{HOME}/{TEAM.partition('@')[0]}/moved.ics"
    reply = dav("MOVE", f"{PERSONAL}/u1.ics", destination=f"http://home.example{there}")
    assert reply.status == 201
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 404
    moved = dav("GET", there).body
    assert b"UID:u1" in moved
    assert b"X-KEEP:1" in moved


def test_move_onto_a_task_needs_overwrite(dav: Door) -> None:
    dav.house.team()
    list_ = TEAM.partition("@")[0]
    dav.put("u1.ics", vtodo("u1"))
    dav.put("u1.ics", vtodo("u1", summary="There"), list_=list_)
    there = f"http://home.example:80{HOME}/{list_}/u1.ics"
    assert dav("MOVE", f"{PERSONAL}/u1.ics", destination=there, overwrite="F").status == 412
    assert dav("MOVE", f"{PERSONAL}/u1.ics", destination=there, overwrite="T").status == 204


@pytest.mark.parametrize(
    ("destination", "status"),
    [
        ("http://elsewhere.example/dav/alice@home.example/personal/x.ics", 502),
        ("/dav/bob@home.example/personal/x.ics", 403),
        ("/dav/alice@home.example/nowhere/x.ics", 409),
        ("/dav/alice@home.example/requests/x.ics", 403),
        ("/dav/alice@home.example/../../etc/passwd", 400),
        ("/dav/alice@home.example/personal/%2e%2e%2fx", 400),
        ("/etc/passwd", 400),
        ("", 400),
        ("http://[", 400),
    ],
)
def test_move_to_where_no_task_belongs_is_refused(dav: Door, destination: str, status: int) -> None:
    dav.put("u1.ics", vtodo("u1"))
    assert dav("MOVE", f"{PERSONAL}/u1.ics", destination=destination).status == status
    assert dav("GET", f"{PERSONAL}/u1.ics").status == 200


# -- paths and other people --------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/dav/../etc/passwd",
        "/dav/alice%40home.example/personal/%2e%2e/x.ics",
        "/dav/alice%40home.example/personal/..",
        "/dav/alice%40home.example/personal/a%00b.ics",
        "/dav/alice%40home.example/personal/a%5cb.ics",
        "/dav/alice%40home.example//personal/x.ics",
        "/dav//alice%40home.example/personal/x.ics",
        "/dav/alice%40home.example/personal/" + "n" * 600 + ".ics",
        "/dav/alice%40home.example/personal/%ff.ics",
        "/dav/alice%40home.example/personal/a%2fb/c.ics",
        "/dav/alice%40home.example/personal/a%7fb.ics",
        "/dav/alice%40home.example/personal/a%c2%85b.ics",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE", "PROPFIND", "MKCALENDAR"])
def test_path_tricks_are_refused(dav: Door, path: str, method: str) -> None:
    head = dav.gateway.index.head(PROJECT)
    reply = dav(method, path, vtodo("u1") if method == "PUT" else b"", content_type="text/calendar")
    assert reply.status in {400, 403, 404, 409}
    assert dav.gateway.index.head(PROJECT) == head


@pytest.mark.parametrize("name", ["Grüße 买.ics", "a:b,c'd\"*?.ics", "x y ", "+%25.ics", "ü;=.ics"])
def test_any_other_name_works(dav: Door, name: str) -> None:
    assert dav.put(quote(name, safe=""), vtodo("u1")).status == 201
    reply = dav.propfind(f"{PERSONAL}/", "<D:getetag/>", depth="1")
    hrefs = [r.findtext(f"{D}href") for r in reply.xml]
    assert f"{PERSONAL}/{quote(name, safe='')}" in hrefs
    assert dav("GET", f"{PERSONAL}/{quote(name, safe='')}").status == 200


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE", "PROPFIND", "PROPPATCH", "MKCALENDAR"])
def test_nobody_comes_into_anothers_address_space(dav: Door, method: str) -> None:
    dav.put("u1.ics", vtodo("u1"))
    reply = dav(method, f"{PERSONAL}/u1.ics", vtodo("u1"), user=BOB, content_type="text/calendar")
    assert reply.status == 403
    assert dav("GET", f"{PERSONAL}/u1.ics").body == vtodo("u1")


def test_a_role_that_may_not_is_refused_with_the_missing_privilege(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER, carol=Role.GUEST)
    list_ = TEAM.partition("@")[0]
    dav.put("u1.ics", vtodo("u1"), list_=list_)
    path = f"/dav/bob%40home.example/{list_}/u1.ics"
    reply = dav("DELETE", path, user=BOB)
    assert reply.status == 403
    resource = reply.xml.find(f"{D}need-privileges/{D}resource")
    assert resource is not None
    assert resource.findtext(f"{D}href") == path
    assert resource.find(f"{D}privilege/{D}unbind") is not None
    assert dav("GET", path, user=BOB).status == 200


def test_a_guest_sees_only_what_is_assigned_to_him(dav: Door) -> None:
    dav.house.team(carol=Role.GUEST)
    list_ = TEAM.partition("@")[0]
    dav.put("hidden.ics", vtodo("u1"), list_=list_)
    mine = dav.house.new_task(7, project=TEAM)
    assigned = SetKeys(actor=actor(), task=mine, changes={f"assignee_{CAROL}": "requested"})
    dav.house.done(assigned)
    home = f"/dav/carol%40home.example/{list_}"
    listed = dav.propfind(f"{home}/", "<D:getetag/>", depth="1", user=CAROL)
    assert set(listed.members()) == {
        f"/dav/carol@home.example/{list_}/",
        f"/dav/carol@home.example/{list_}/{mine[:32]}.ics",
    }
    assert dav("GET", f"{home}/hidden.ics", user=CAROL).status == 404
