"""What Radicale itself asks of us: storage, rights; faults behind the door; the shell."""

from __future__ import annotations

import dataclasses
import gzip
from concurrent.futures import Future
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from bridge_radicale import make_application
from bridge_radicale.storage import BridgeCollection, Storage
from davdoor import C, D, Door, vtodo
from house import ALICE, BOB, TEAM
from house import HOME as PROJECT
from radicale.item import Item

from bridge.caldav.call import Settings
from bridge.errors import Corrupt, Unavailable
from bridge.model.patch import Role
from bridge.worker.command import PutTask, SetPolicy

if TYPE_CHECKING:
    from bridge.worker.command import Command, Outcome

HOME = "/dav/alice@home.example"


def storage(dav: Door) -> Storage:
    found = dav.application._application._storage
    assert isinstance(found, Storage)
    return found


def personal(dav: Door) -> BridgeCollection:
    dav.application._application._visits.begin()
    found = next(iter(storage(dav).discover("/alice@home.example/personal/")))
    assert isinstance(found, BridgeCollection)
    return found


# -- storage -----------------------------------------------------------------------------


def test_discover_yields_its_first_element_without_reading_the_rest(dav: Door) -> None:
    found = storage(dav).discover("/alice@home.example/", "1")
    first = next(iter(found))
    assert isinstance(first, BridgeCollection)
    assert first.is_principal
    assert [c.path for c in found if isinstance(c, BridgeCollection)] == [
        "alice@home.example/personal",
        "alice@home.example/requests",
    ]


def test_discover_finds_tasks_and_nothing_where_nothing_is(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    found = list(storage(dav).discover("/alice@home.example/personal/u1.ics"))
    assert [item.uid for item in found if isinstance(item, Item)] == ["u1"]
    for path in ("/alice@home.example/personal/no.ics", "/alice@home.example/no/", "/a/../b"):
        assert list(storage(dav).discover(path)) == []


def test_items_come_with_their_text_and_are_not_parsed(dav: Door) -> None:
    sent = vtodo("u1", "X-ODD;X-P=1:a,b")
    dav.put("u1.ics", sent)
    items = dict(personal(dav).get_multi(["u1.ics", "no.ics"]))
    item = items["u1.ics"]
    assert items["no.ics"] is None
    assert item is not None
    assert item.serialize().encode() == sent
    assert item._vobject_item is None
    assert (item.uid, item.component_name, item.name) == ("u1", "VTODO", "VCALENDAR")


def test_etag_uid_and_sync_come_from_the_index(dav: Door) -> None:
    collection = personal(dav)
    token, names = collection.sync()
    assert list(names) == []
    assert not collection.has_uid("u1")
    dav.put("u1.ics", vtodo("u1"))
    later = personal(dav)
    assert later.has_uid("u1")
    assert later.etag != collection.etag
    assert list(later.sync(token)[1]) == ["u1.ics"]
    with pytest.raises(ValueError, match="token"):
        later.sync("http://radicale.org/ns/sync/1")


def test_filters_are_decided_here(dav: Door) -> None:
    dav.put("open.ics", vtodo("open"))
    dav.put("done.ics", vtodo("done", "STATUS:COMPLETED"))
    body = (
        f'<filter xmlns="{C[1:-1]}"><comp-filter name="VCALENDAR"><comp-filter name="VTODO">'
        '<prop-filter name="STATUS"/></comp-filter></comp-filter></filter>'
    )
    found = list(personal(dav).get_filtered([ET.fromstring(body)]))  # noqa: S314 - our own text
    assert [(item.uid, matched) for item, matched in found] == [("done", True)]
    assert all(item._vobject_item is None for item, _ in found)


def test_uploads_moves_and_deletions_go_through_the_worker(dav: Door) -> None:
    dav.house.team()
    collection = personal(dav)
    item = Item(collection=collection, text=vtodo("u1").decode(), href="u1.ics")
    new, old = collection.upload("u1.ics", item)
    assert (new.uid, old) == ("u1", None)
    there = next(iter(storage(dav).discover(f"/alice@home.example/{TEAM.partition('@')[0]}/")))
    assert isinstance(there, BridgeCollection)
    storage(dav).move(new, there, "moved.ics")
    there.delete("moved.ics")
    assert [e.author for e in dav.gateway.index.history(TEAM, before=None, limit=2)] == [ALICE] * 2
    with pytest.raises(ValueError, match="no such task"):
        there.delete("moved.ics")


def test_what_a_role_forbids_is_an_access_error_for_radicale(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER)
    list_ = TEAM.partition("@")[0]
    dav.put("u1.ics", vtodo("u1"), list_=list_)
    dav.application._application._visits.begin()
    bobs = next(iter(storage(dav).discover(f"/bob@home.example/{list_}/")))
    assert isinstance(bobs, BridgeCollection)
    with pytest.raises(ValueError, match=r"\[Errno 13\]"):
        bobs.delete("u1.ics")


def test_a_list_made_through_the_storage_is_a_project(dav: Door) -> None:
    made, _, _ = storage(dav).create_collection("/alice@home.example/new/", props={"tag": "x"})
    assert made.tag == "VCALENDAR"
    assert made.get_meta("D:displayname") == "new"
    with pytest.raises(ValueError, match="directly in a home"):
        storage(dav).create_collection("/alice@home.example/a/b/")


def test_the_requests_collection_is_read_only_for_radicale(dav: Door) -> None:
    requests = next(iter(storage(dav).discover("/alice@home.example/requests/")))
    assert isinstance(requests, BridgeCollection)
    assert list(requests.get_all()) == []
    assert not requests.has_uid("x")
    for act in (
        requests.delete,
        lambda: requests.upload("x.ics", Item(collection=requests, text=vtodo("x").decode())),
        lambda: requests.set_meta({"D:displayname": "x"}),
    ):
        with pytest.raises(ValueError, match=r"\[Errno 13\]"):
            act()


def test_rights_are_the_roles(dav: Door) -> None:
    dav.house.team(bob=Role.GUEST)
    rights = dav.application._application._rights
    list_ = TEAM.partition("@")[0]
    assert rights.authorization("", set(), "/") == ""
    assert rights.authorization(ALICE, set(), "/") == "R"
    assert rights.authorization(ALICE, set(), "/alice@home.example/free/") == "rw"
    assert rights.authorization(ALICE, set(), "/alice@home.example/a\\b/") == ""
    assert rights.authorization(ALICE, set(), "/alice@home.example/") == "RW"
    assert rights.authorization(BOB, set(), f"/bob@home.example/{list_}/x.ics") == "rw"
    assert rights.authorization(BOB, set(), "/alice@home.example/personal/") == ""
    assert rights.authorization(BOB, set(), "/bob@home.example/no/x.ics") == ""


# -- faults ------------------------------------------------------------------------------


def failing(dav: Door, outcome: BaseException | None, settings: Settings | None = None) -> None:
    """Let every write fail as the worker's would."""

    def submit(command: Command) -> Future[Outcome]:
        assert isinstance(command, PutTask | SetPolicy)
        future: Future[Outcome] = Future()
        if outcome is not None:
            future.set_exception(outcome)
        return future

    gateway = dataclasses.replace(dav.gateway, submit=submit)
    dav.application = make_application(gateway, dav.passwords, settings)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("disk-full", "the disk is full", retry=True), 507),
        (Unavailable("queue-full", "too much to do", retry=True), 503),
        (Corrupt("log-gap", "the log is damaged", at="/secret/place"), 500),
        (RuntimeError("secret"), 500),
    ],
)
def test_a_fault_behind_the_door_has_its_status_and_no_secrets(
    dav: Door, error: BaseException, status: int
) -> None:
    failing(dav, error)
    reply = dav.put("u1.ics", vtodo("u1"))
    assert reply.status == status
    assert b"secret" not in reply.body
    assert ("retry-after" in reply.headers) is (status == 503)
    if status == 507:
        assert D + "sufficient-disk-space" in reply.conditions()


def test_a_worker_that_does_not_answer_in_time_is_not_now(dav: Door) -> None:
    failing(dav, None, Settings(wait_seconds=0.01))
    assert dav.put("u1.ics", vtodo("u1")).status == 503


def test_properties_are_put_back_when_the_project_could_not_be_changed(dav: Door) -> None:
    failing(dav, Unavailable("queue-full", "too much to do", retry=True))
    body = (
        '<propertyupdate xmlns="DAV:"><set><prop><displayname>New</displayname>'
        '<x xmlns="urn:x">1</x></prop></set></propertyupdate>'
    )
    assert dav("PROPPATCH", f"{HOME}/personal/", body).status == 503
    assert dav.gateway.directory.properties.of(ALICE, PROJECT) == {}


# -- the shell ---------------------------------------------------------------------------


def test_long_answers_are_compressed_where_that_is_asked(dav: Door) -> None:
    for number in range(30):
        dav.put(f"{number}.ics", vtodo(str(number)))
    plain = dav.sync()
    packed = dav.sync(accept_encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) == int(packed.headers["content-length"]) < len(plain.body)
    assert "content-encoding" not in dav("OPTIONS", f"{HOME}/", accept_encoding="gzip").headers


@pytest.mark.parametrize("method", ["COPY", "LOCK", "PATCH", "BREW"])
def test_other_methods_are_not_allowed(dav: Door, method: str) -> None:
    assert dav(method, f"{HOME}/personal/").status == 405


def test_headers_of_strangers_cannot_move_the_mount(dav: Door) -> None:
    reply = dav.propfind(
        f"{HOME}/",
        "<D:current-user-principal/>",
        x_script_name="/evil",
        x_forwarded_host="evil.example",
        x_forwarded_proto="https",
    )
    assert reply.status == 207
    assert b"evil" not in reply.body


def test_the_mount_claims_its_own_paths_only(dav: Door) -> None:
    def claims(method: str, path: str) -> bool:
        return dav.application.claims({"REQUEST_METHOD": method, "PATH_INFO": path})

    assert claims("GET", "/dav/x")
    assert claims("PROPFIND", "/")
    assert claims("PUT", "/")
    assert claims("GET", "/.well-known/caldav")
    assert not claims("GET", "/")
    assert not claims("GET", "/davos")
    assert not claims("GET", "/.well-known/tx")
    assert not claims("POST", "/tx/v1/inbox")
