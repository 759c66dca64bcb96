"""POST: tasks under names that the server chooses (RFC 5995), and sharing of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from davdoor import C, D, Door, Reply, vtodo
from house import ALICE, BOB, CAROL, MALLORY, TEAM

from bridge.model.patch import Role

if TYPE_CHECKING:
    from bridge.model.ids import Address, ProjectId

HOME = "/dav/alice@home.example"
PERSONAL = f"{HOME}/personal"
LIST = f"{HOME}/{TEAM.partition('@')[0]}"
BOBS = f"/dav/bob@home.example/{TEAM.partition('@')[0]}"


def add(dav: Door, body: bytes, path: str = f"{PERSONAL}/", **headers: Any) -> Reply:
    return dav("POST", path, body, content_type="text/calendar", **headers)


# -- add-member --------------------------------------------------------------------------


def test_a_posted_task_gets_a_name(dav: Door) -> None:
    reply = add(dav, vtodo("u1"))
    assert reply.status == 201
    where = reply.headers["location"]
    assert unquote(where).startswith(f"{PERSONAL}/")
    got = dav("GET", where)
    assert got.body == vtodo("u1")
    assert reply.headers["etag"] == got.headers["etag"]
    again = add(dav, vtodo("u1"))
    assert again.status == 409
    conflict = again.xml.find(f"{C}no-uid-conflict/{D}href")
    assert conflict is not None
    assert conflict.text == where
    other = add(dav, vtodo("u2"), prefer="return=representation")
    assert (other.status, other.body) == (201, vtodo("u2"))
    assert other.headers["location"] != where


def test_a_list_says_where_tasks_may_be_posted(dav: Door) -> None:
    dav.house.team(bob=Role.GUEST)
    asked = "<D:add-member/>"
    props = dav.propfind(f"{PERSONAL}/", asked).props()
    assert unquote(props[D + "add-member"].findtext(f"{D}href") or "") == f"{PERSONAL}/"
    for path in ("/dav/", f"{HOME}/", f"{HOME}/requests/"):
        assert D + "add-member" not in dav.propfind(path, asked).props()
    assert D + "add-member" not in dav.propfind(f"{BOBS}/", asked, user=BOB).props()


def test_what_is_posted_wrongly_is_refused_by_name(dav: Door) -> None:
    wrong = add(dav, b"nothing")
    assert wrong.status == 403
    assert C + "valid-calendar-data" in wrong.conditions()
    html = dav("POST", f"{PERSONAL}/", b"<p>", content_type="text/html")
    assert html.status == 415
    assert C + "supported-calendar-data" in html.conditions()
    requests = add(dav, vtodo("u1"), path=f"{HOME}/requests/")
    assert requests.status == 403
    assert requests.xml.find(f".//{D}bind") is not None
    assert add(dav, vtodo("u1"), path=f"{HOME}/nowhere/").status == 409
    assert add(dav, vtodo("u1"), path="/dav/bob@home.example/personal/").status == 403
    for path in ("/dav/", f"{HOME}/", f"{PERSONAL}/a.ics"):
        assert add(dav, vtodo("u1"), path=path).status == 405
    assert dav("OPTIONS", f"{PERSONAL}/").headers["allow"].count("POST") == 1


# -- sharing -----------------------------------------------------------------------------


def sharee(href: str, access: str) -> str:
    return (
        f"<D:sharee><D:href>{href}</D:href><D:share-access><D:{access} /></D:share-access>"
        "</D:sharee>"
    )


def share(dav: Door, inner: str, path: str = f"{LIST}/", **headers: Any) -> Reply:
    body = f'<D:share-resource xmlns:D="DAV:">{inner}</D:share-resource>'
    return dav("POST", path, body, content_type="application/davsharing+xml", **headers)


def roles(dav: Door, project: ProjectId = TEAM) -> dict[Address, Role]:
    state = dav.gateway.index.project(project)
    assert state is not None
    return {user: member.role for user, member in state.members.items()}


@pytest.mark.parametrize(
    "href", ["mailto:bob@home.example", "MAILTO:Bob%40home.example", "/dav/bob%40home.example/"]
)
def test_sharing_gives_a_role_and_takes_it_away(dav: Door, href: str) -> None:
    dav.house.team()
    assert share(dav, sharee(href, "read-write")).status == 204
    assert roles(dav)[BOB] is Role.MEMBER
    assert (
        dav("PUT", f"{BOBS}/a.ics", vtodo("a"), user=BOB, content_type="text/calendar").status
        == 201
    )
    assert share(dav, sharee(href, "read")).status == 204
    assert roles(dav)[BOB] is Role.GUEST
    assert dav("GET", f"{BOBS}/a.ics", user=BOB).status == 200
    assert (
        dav("PUT", f"{BOBS}/b.ics", vtodo("b"), user=BOB, content_type="text/calendar").status
        == 403
    )
    assert share(dav, sharee(href, "no-access")).status == 204
    assert BOB not in roles(dav)
    assert dav("GET", f"{BOBS}/a.ics", user=BOB).status == 404
    assert share(dav, sharee(href, "no-access")).status == 204


def test_somebody_of_another_domain_may_be_named(dav: Door) -> None:
    dav.house.team()
    assert share(dav, sharee(f"mailto:{MALLORY}", "read-write")).status == 204
    assert roles(dav)[MALLORY] is Role.MEMBER


def test_sharing_never_lowers_who_stands_higher(dav: Door) -> None:
    dav.house.team(bob=Role.OWNER)
    assert share(dav, sharee(f"mailto:{BOB}", "read-write")).status == 204
    assert share(dav, sharee(f"mailto:{ALICE}", "read")).status == 204
    assert roles(dav) == {ALICE: Role.CREATOR, BOB: Role.OWNER}


def test_several_people_are_answered_each(dav: Door) -> None:
    dav.house.team()
    inner = sharee(f"mailto:{BOB}", "read-write") + sharee(f"mailto:{CAROL}", "read")
    reply = share(dav, inner)
    assert reply.status == 207
    assert [r.findtext(f"{D}status") for r in reply.xml] == ["HTTP/1.1 204 No Content"] * 2
    assert roles(dav) == {ALICE: Role.CREATOR, BOB: Role.MEMBER, CAROL: Role.GUEST}


def test_only_who_governs_a_list_shares_it(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER)
    refused = share(dav, sharee(f"mailto:{CAROL}", "read"), path=f"{BOBS}/", user=BOB)
    assert refused.status == 403
    assert D + "need-privileges" in refused.conditions()
    raised = share(dav, sharee(f"mailto:{ALICE}", "no-access"), path=f"{BOBS}/", user=BOB)
    assert raised.status == 403
    assert roles(dav) == {ALICE: Role.CREATOR, BOB: Role.MEMBER}
    assert share(dav, sharee(f"mailto:{BOB}", "no-access"), path=f"{BOBS}/", user=BOB).status == 204
    assert BOB not in roles(dav)


@pytest.mark.parametrize(
    "href",
    ["mailto:nobody@home.example", "mailto:", "", "urn:x", "/dav/", "/dav/a/b/", "mailto:%FF"],
)
def test_who_cannot_be_named_is_refused_by_name_and_nobody_is_added(dav: Door, href: str) -> None:
    dav.house.team()
    reply = share(dav, sharee(f"mailto:{BOB}", "read") + sharee(href, "read"))
    assert reply.status == 403
    assert D + "recognized-principal" in reply.conditions()
    assert roles(dav) == {ALICE: Role.CREATOR}


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<D:sharee/>",
        sharee("mailto:bob@home.example", "owner"),
        sharee("mailto:bob@home.example", "read") * 101,
        (
            "<D:sharee><D:href>mailto:bob@home.example</D:href><D:share-access><D:read/><D:read-write/>"
            "</D:share-access></D:sharee>"
        ),
    ],
)
def test_sharing_without_sense_is_refused(dav: Door, inner: str) -> None:
    dav.house.team()
    assert share(dav, inner).status == 400
    assert roles(dav) == {ALICE: Role.CREATOR}


def test_what_is_no_project_is_not_shared(dav: Door) -> None:
    inner = sharee(f"mailto:{BOB}", "read")
    assert share(dav, inner, path=f"{HOME}/requests/").status == 404
    assert share(dav, inner, path=f"{HOME}/nowhere/").status == 404
    assert share(dav, inner, path="/dav/bob@home.example/personal/").status == 403


def test_a_shared_list_tells_who_shares_it(dav: Door) -> None:
    asked = "<D:share-access/><D:invite/>"
    dav.house.team()
    alone = dav.propfind(f"{LIST}/", asked).props()
    assert alone[D + "share-access"].find(f"{D}not-shared") is not None
    assert len(alone[D + "invite"]) == 0
    people = dav.gateway.directory.people
    people.describe(BOB, name="Bob <b>", language="en", time_zone="UTC")
    share(dav, sharee(f"mailto:{BOB}", "read-write") + sharee(f"mailto:{CAROL}", "read"))
    mine = dav.propfind(f"{LIST}/", asked).props()
    assert mine[D + "share-access"].find(f"{D}shared-owner") is not None
    told = {
        s.findtext(f"{D}href"): [a.tag for a in s.findall(f"{D}share-access/*")]
        for s in mine[D + "invite"].findall(f"{D}sharee")
    }
    assert told == {f"mailto:{BOB}": [D + "read-write"], f"mailto:{CAROL}": [D + "read"]}
    assert mine[D + "invite"].findtext(f"{D}sharee/{D}prop/{D}displayname") == "Bob <b>"
    assert mine[D + "invite"].find(f"{D}sharee/{D}invite-accepted") is not None
    bobs = dav.propfind(f"{BOBS}/", asked, user=BOB).props()
    assert bobs[D + "share-access"].find(f"{D}read-write") is not None
    assert bobs[D + "invite"].findtext(f"{D}sharee/{D}share-access/{D}shared-owner") is not None
    carols = dav.propfind(f"{quote(BOBS.replace('bob', 'carol'))}/", asked, user=CAROL).props()
    assert carols[D + "share-access"].find(f"{D}read") is not None
    assert D + "invite" not in carols
    assert D + "share-access" not in dav.propfind(f"{HOME}/requests/", asked).props()


def test_sharing_is_announced(dav: Door) -> None:
    assert "resource-sharing" in dav("OPTIONS", f"{LIST}/").headers["dav"].split(", ")
