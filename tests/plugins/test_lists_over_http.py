"""Making, changing and removing lists; dead properties; the Requests collection."""

from __future__ import annotations

import uuid

import pytest
from davdoor import A, C, D, Door, vtodo
from house import ALICE, BOB, TEAM
from house import HOME as PROJECT

from bridge.model.ids import Address, imported_task
from bridge.model.patch import Role
from bridge.model.request import Direction, Side, State
from bridge.worker.command import ReceiveRequest

HOME = "/dav/alice@home.example"
NAMESPACES = (
    'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="http://apple.com/ns/ical/"'
)


def mkcalendar(props: str = "<D:displayname>Errands</D:displayname>") -> str:
    return f"<C:mkcalendar {NAMESPACES}><D:set><D:prop>{props}</D:prop></D:set></C:mkcalendar>"


def patch(set_: str = "", remove: str = "") -> str:
    body = f"<D:set><D:prop>{set_}</D:prop></D:set>" if set_ else ""
    body += f"<D:remove><D:prop>{remove}</D:prop></D:remove>" if remove else ""
    return f"<D:propertyupdate {NAMESPACES}>{body}</D:propertyupdate>"


# -- making ------------------------------------------------------------------------------


def test_a_list_is_a_project_under_the_name_its_client_chose(dav: Door) -> None:
    color = '<A:calendar-color symbolic-color="custom">#1BADF8</A:calendar-color>'
    order = "<A:calendar-order>3</A:calendar-order>"
    reply = dav("MKCALENDAR", f"{HOME}/9F-Errands/", mkcalendar(
        f"<D:displayname>Errands</D:displayname>{color}{order}"
    ))  # fmt: skip
    assert reply.status == 201
    assert dav.put("u1.ics", vtodo("u1"), list_="9F-Errands").status == 201
    home = dav.propfind(
        f"{HOME}/", "<D:displayname/><A:calendar-color/><A:calendar-order/>", depth="1"
    )
    props = home.props(f"{HOME}/9F-Errands/")
    assert props[D + "displayname"].text == "Errands"
    assert props[A + "calendar-color"].get("symbolic-color") == "custom"
    assert props[A + "calendar-order"].text == "3"
    made = [card for card in dav.gateway.index.homes(ALICE) if card.project != PROJECT]
    assert [(card.name, card.color, card.role) for card in made] == [
        ("Errands", "#1BADF8", Role.CREATOR)
    ]


def test_extended_mkcol_makes_a_list_and_a_plain_one_does_not(dav: Door) -> None:
    body = (
        f"<D:mkcol {NAMESPACES}><D:set><D:prop><D:resourcetype><D:collection/><C:calendar/>"
        "</D:resourcetype><D:displayname>K</D:displayname></D:prop></D:set></D:mkcol>"
    )
    assert dav("MKCOL", f"{HOME}/k/", body).status == 201
    plain = dav("MKCOL", f"{HOME}/plain/")
    assert plain.status == 403
    assert D + "valid-resourcetype" in plain.conditions()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{HOME}/personal/", 405),
        (f"{HOME}/requests/", 405),
        (f"{HOME}/", 405),
        (f"{HOME}/personal/inner/", 403),
        (f"{HOME}/a@b.example/", 403),
        ("/dav/bob@home.example/new/", 403),
        (f"{HOME}/" + "n" * 300 + "/", 403),
    ],
)
def test_a_list_is_made_only_where_one_can_be(dav: Door, path: str, status: int) -> None:
    before = len(dav.gateway.index.homes(ALICE))
    assert dav("MKCALENDAR", path, mkcalendar()).status == status
    assert len(dav.gateway.index.homes(ALICE)) == before


def test_the_same_name_is_not_made_twice(dav: Door) -> None:
    assert dav("MKCALENDAR", f"{HOME}/x/", mkcalendar()).status == 201
    again = dav("MKCALENDAR", f"{HOME}/x/", mkcalendar())
    assert again.status == 405
    assert D + "resource-must-be-null" in again.conditions()


def test_a_list_for_events_is_refused(dav: Door) -> None:
    events = '<C:supported-calendar-component-set><C:comp name="VEVENT"/></C:supported-calendar-component-set>'
    reply = dav("MKCALENDAR", f"{HOME}/x/", mkcalendar(events))
    assert reply.status == 403
    assert C + "supported-calendar-component" in reply.conditions()


def test_two_users_may_choose_the_same_name(dav: Door) -> None:
    assert dav("MKCALENDAR", f"{HOME}/x/", mkcalendar()).status == 201
    assert dav("MKCALENDAR", "/dav/bob@home.example/x/", mkcalendar(), user=BOB).status == 201
    dav.put("u1.ics", vtodo("u1"), list_="x")
    assert dav("GET", "/dav/bob@home.example/x/u1.ics", user=BOB).status == 404


def test_an_alias_never_changes_its_meaning(dav: Door) -> None:
    unique = TEAM.partition("@")[0]
    assert dav("MKCALENDAR", f"{HOME}/{unique}/", mkcalendar()).status == 201
    dav.put("u1.ics", vtodo("u1"), list_=unique)
    dav.house.team()
    assert dav("GET", f"{HOME}/{unique}/u1.ics").status == 200
    names = set(dav.propfind(f"{HOME}/", "<D:displayname/>", depth="1").members())
    assert {f"{HOME}/{unique}/", f"{HOME}/{TEAM}/"} <= names


def test_a_list_is_removed_by_its_creator_only_and_its_name_is_free_again(dav: Door) -> None:
    dav.house.team(bob=Role.OWNER)
    unique = TEAM.partition("@")[0]
    refused = dav("DELETE", f"/dav/bob@home.example/{unique}/", user=BOB)
    assert refused.status == 403
    assert refused.xml.find(f".//{D}unbind") is not None
    dav("MKCALENDAR", f"{HOME}/x/", mkcalendar())
    assert dav("DELETE", f"{HOME}/x/").status == 204
    assert dav.propfind(f"{HOME}/x/", "<D:owner/>").status == 404
    assert dav.propfind(f"{HOME}/", "<D:owner/>").status == 207
    assert dav("MKCALENDAR", f"{HOME}/x/", mkcalendar()).status == 201
    assert dav.sync("x").members() == {}


@pytest.mark.parametrize("path", [f"{HOME}/personal/", f"{HOME}/requests/", f"{HOME}/", "/dav/"])
def test_what_stays_cannot_be_deleted(dav: Door, path: str) -> None:
    assert dav("DELETE", path).status == 403
    assert dav.propfind(f"{HOME}/personal/", "<D:owner/>").status == 207


# -- properties --------------------------------------------------------------------------


def test_name_and_colour_of_an_owner_are_the_projects(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER)
    unique = TEAM.partition("@")[0]
    change = patch(
        "<D:displayname>Crew</D:displayname><A:calendar-color>#FF0000</A:calendar-color>"
    )
    assert dav("PROPPATCH", f"{HOME}/{unique}/", change).status == 207
    bobs = dav.propfind(
        f"/dav/bob@home.example/{unique}/", "<D:displayname/><A:calendar-color/>", user=BOB
    ).props()
    assert bobs[D + "displayname"].text == "Crew"
    assert bobs[A + "calendar-color"].text == "#FF0000"


def test_a_members_changes_are_accepted_and_his_alone(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER)
    unique = TEAM.partition("@")[0]
    change = patch("<D:displayname>Mine</D:displayname><A:calendar-order>7</A:calendar-order>")
    reply = dav("PROPPATCH", f"/dav/bob@home.example/{unique}/", change, user=BOB)
    assert reply.status == 207
    assert D + "displayname" in reply.props()
    asked = "<D:displayname/><A:calendar-order/>"
    bobs = dav.propfind(f"/dav/bob@home.example/{unique}/", asked, user=BOB).props()
    assert (bobs[D + "displayname"].text, bobs[A + "calendar-order"].text) == ("Mine", "7")
    alices = dav.propfind(f"{HOME}/{unique}/", asked).props()
    assert alices[D + "displayname"].text == "Team"
    assert A + "calendar-order" not in alices


def test_the_personal_list_may_be_renamed_by_its_user(dav: Door) -> None:
    assert (
        dav("PROPPATCH", f"{HOME}/personal/", patch("<D:displayname>Me</D:displayname>")).status
        == 207
    )
    props = dav.propfind(f"{HOME}/personal/", "<D:displayname/>").props()
    assert props[D + "displayname"].text == "Me"
    state = dav.gateway.index.project(PROJECT)
    assert state is not None
    assert state.policy["name"] == "Me"


def test_dead_properties_keep_elements_attributes_and_white_space(dav: Door) -> None:
    dead = (
        '<X:icon xmlns:X="http://org.tasks/ns/" a="1&quot;&lt;">  <X:b xml:lang="de">t&#13;\n'
        "</X:b>tail&amp;</X:icon>"
    )
    assert dav("PROPPATCH", f"{HOME}/personal/", patch(dead)).status == 207
    asked = '<X:icon xmlns:X="http://org.tasks/ns/"/>'
    back = dav.propfind(f"{HOME}/personal/", asked).props()["{http://org.tasks/ns/}icon"]
    assert back.get("a") == '1"<'
    assert back.text == "  "
    assert back[0].text == "t\r\n"
    assert back[0].get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    assert back[0].tail == "tail&"
    assert dav("PROPPATCH", f"{HOME}/personal/", patch(remove=asked)).status == 207
    assert dav.propfind(f"{HOME}/personal/", asked).props() == {}


def test_proppatch_of_a_protected_property_changes_nothing(dav: Door) -> None:
    change = patch(
        "<D:getetag>x</D:getetag><D:displayname>New</D:displayname>", "<D:resourcetype/>"
    )
    reply = dav("PROPPATCH", f"{HOME}/personal/", change)
    assert reply.status == 207
    stats = {
        prop.tag: stat.findtext(f"{D}status")
        for stat in reply.xml.iter(f"{D}propstat")
        for prop in stat.findall(f"{D}prop/*")
    }
    assert "403" in (stats[D + "getetag"] or "")
    assert "403" in (stats[D + "resourcetype"] or "")
    assert "424" in (stats[D + "displayname"] or "")
    assert reply.xml.find(f".//{D}cannot-modify-protected-property") is not None
    props = dav.propfind(f"{HOME}/personal/", "<D:displayname/><D:resourcetype/>").props()
    assert props[D + "displayname"].text == "Tasks"
    assert props[D + "resourcetype"].find(f"{C}calendar") is not None


def test_a_name_of_control_characters_stays_one_line(dav: Door) -> None:
    change = patch("<D:displayname>&#10;a\u0085&#9;b\u202e</D:displayname>")
    assert dav("PROPPATCH", f"{HOME}/personal/", change).status == 207
    props = dav.propfind(f"{HOME}/personal/", "<D:displayname/>").props()
    assert props[D + "displayname"].text == "a b"


def test_a_task_has_no_dead_properties(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    reply = dav("PROPPATCH", f"{HOME}/personal/u1.ics", patch("<A:x>1</A:x>"))
    assert reply.status == 207
    assert b"403 Forbidden" in reply.body


# -- requests ----------------------------------------------------------------------------

MALLORY = Address("mallory@evil.example")
REQUEST = uuid.UUID("01890000-0000-7000-8000-000000000001")


def ask(dav: Door, level: str = "N") -> str:
    dav.house.done(
        ReceiveRequest(
            id=REQUEST,
            recipient=ALICE,
            sender=MALLORY,
            level=level,
            method="" if level == "N" else "smime",
            reason="the mail was not signed" if level == "N" else "",
            keys={
                "description": "Send <money>",
                "notes": "quickly",
                "due": "2026-12-01",
                "ical.uid": "theirs",
            },
        )
    )
    return f"{HOME}/requests/{REQUEST}.ics"


def state_of(dav: Door) -> State:
    found = dav.gateway.directory.requests.get(Side(ALICE, Direction.RECEIVED, REQUEST))
    assert found is not None
    return found.state


def personal(dav: Door) -> set[str]:
    return {href.rpartition("/")[2] for href in dav.sync().members()}


def test_a_request_is_a_task_that_says_who_asks_and_how_far_that_is_proven(dav: Door) -> None:
    token = dav.sync("requests").xml.findtext(f"{D}sync-token") or ""
    path = ask(dav)
    changed = dav.sync("requests", token)
    assert set(changed.members()) == {path}
    text = dav("GET", path).body.decode().replace("\r\n ", "")
    assert "SUMMARY:Send <money>" in text
    assert "DUE;VALUE=DATE:20261201" in text
    assert "STATUS:NEEDS-ACTION" in text
    assert "mallory@evil.example asks you" in text
    assert "Not proven" in text
    assert "the mail was not signed" in text
    assert "ORGANIZER:mailto:mallory@evil.example" in text
    assert personal(dav) == set()


def test_a_proven_request_says_so(dav: Door) -> None:
    text = dav("GET", ask(dav, "P")).body.decode().replace("\r\n ", "")
    assert "Proven: this person signed it (S/MIME)" in text


def test_moving_a_request_into_a_list_accepts_it_there(dav: Door) -> None:
    path = ask(dav)
    token = dav.sync("requests").xml.findtext(f"{D}sync-token") or ""
    destination = f"http://home.example{HOME}/personal/kept.ics"
    assert dav("MOVE", path, destination=destination).status == 201
    assert state_of(dav) is State.ACCEPTED
    assert personal(dav) == {"kept.ics"}
    kept = dav("GET", f"{HOME}/personal/kept.ics").body.decode().replace("\r\n ", "")
    assert f"UID:request-{REQUEST.hex}" in kept
    assert "DESCRIPTION:quickly" in kept
    gone = dav.sync("requests", token).members()[path]
    assert "404" in (gone.findtext(f"{D}status") or "")
    assert dav("GET", path).status == 404


def test_moving_by_copy_and_delete_as_most_clients_do_accepts_too(dav: Door) -> None:
    path = ask(dav)
    copied = dav("GET", path).body.replace(b"Send <money>", b"Send cake")
    assert dav.put("copy.ics", copied, if_none_match="*").status == 201
    assert state_of(dav) is State.ACCEPTED
    assert dav("DELETE", path).status == 404
    assert state_of(dav) is State.ACCEPTED
    kept = dav("GET", f"{HOME}/personal/copy.ics").body
    assert b"SUMMARY:Send cake" in kept
    assert b"DESCRIPTION:quickly" in kept


@pytest.mark.parametrize(
    "change",
    [
        (b"STATUS:NEEDS-ACTION", b"STATUS:IN-PROCESS"),
        (b"STATUS:NEEDS-ACTION", b"STATUS:COMPLETED\r\nCOMPLETED:20261120T120000Z"),
        (b"PARTSTAT=NEEDS-ACTION", b"PARTSTAT=ACCEPTED"),
    ],
)
def test_starting_completing_or_partstat_accepts(dav: Door, change: tuple[bytes, bytes]) -> None:
    path = ask(dav)
    served = dav("GET", path).body
    assert change[0] in served
    etag = dav("GET", path).headers["etag"]
    changed = served.replace(*change)
    assert dav.put(f"{REQUEST}.ics", changed, list_="requests", if_match=etag).status == 204
    assert state_of(dav) is State.ACCEPTED
    assert len(personal(dav)) == 1


@pytest.mark.parametrize(
    "change",
    [
        (b"STATUS:NEEDS-ACTION", b"STATUS:CANCELLED"),
        (b"PARTSTAT=NEEDS-ACTION", b"PARTSTAT=DECLINED"),
    ],
)
def test_cancelling_or_partstat_declines(dav: Door, change: tuple[bytes, bytes]) -> None:
    changed = dav("GET", ask(dav)).body.replace(*change)
    assert dav.put(f"{REQUEST}.ics", changed, list_="requests").status == 204
    assert state_of(dav) is State.DECLINED
    assert personal(dav) == set()


def test_delete_declines(dav: Door) -> None:
    path = ask(dav)
    assert dav("DELETE", path, if_match='"stale"').status == 412
    assert state_of(dav) is State.REQUESTED
    assert dav("DELETE", path).status == 204
    assert state_of(dav) is State.DECLINED


def test_other_edits_wait_for_the_acceptance_and_noise_is_passed_over(dav: Door) -> None:
    path = ask(dav)
    served = dav("GET", path).body
    edited = served.replace(b"Send <money>", b"Send cake")
    assert dav.put(f"{REQUEST}.ics", edited, list_="requests").status == 403
    noise = served.replace(b"END:VTODO", b"X-MOZ-LASTACK:20261120T120000Z\r\nEND:VTODO")
    assert dav.put(f"{REQUEST}.ics", noise, list_="requests").status == 204
    assert state_of(dav) is State.REQUESTED
    assert dav("GET", path).body == served


def test_nobody_puts_his_own_task_among_the_requests(dav: Door) -> None:
    reply = dav.put("mine.ics", vtodo("mine"), list_="requests")
    assert reply.status == 403
    assert reply.xml.find(f".//{D}bind") is not None


def test_a_stolen_request_uid_means_nothing_to_others(dav: Door) -> None:
    served = dav("GET", ask(dav)).body
    reply = dav("PUT", "/dav/bob@home.example/personal/x.ics", served, user=BOB,
                content_type="text/calendar")  # fmt: skip
    assert reply.status == 201
    assert state_of(dav) is State.REQUESTED
    assert imported_task(PROJECT, "theirs") not in personal(dav)
