"""Bad CalDAV requests over real HTTP: status, precondition, a reason in the log, no trace."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from davdoor import C, D, Reply, calendar, vtodo
from journeys.gatewaykit import BOB, Dav, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.journey

CAROL = "carol@home.example"
HOME = "/dav/bob%40home.example"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("house"))
    for user in (BOB, CAROL):
        gateway.add_user(user)
    with gateway.serving():
        with gateway.dav() as dav:
            assert dav.put("kept name.ics".replace(" ", "%20"), vtodo("kept")).status == 201
        yield gateway
        gateway.check()
    gateway.close()


@pytest.fixture
def dav(house: Gateway) -> Iterator[Dav]:
    with house.dav() as client:
        yield client


def files(folder: Path) -> set[Path]:
    """Return all files but those of databases and events, and views, which come later."""
    own = ("-wal", "-shm", ".jsonl", ".log")
    found = {path for path in folder.rglob("*") if not path.name.endswith(own)}
    return {path for path in found if "tasks" not in path.parts}


@pytest.fixture
def refusal(house: Gateway, dav: Dav) -> Iterator[list[Mapping[str, object]]]:
    """Hold the test to what every refusal owes: one event with a reason, and no other trace."""
    before, seen, kept = dav.sync(), len(house.events("refused")), files(house.folder)
    events: list[Mapping[str, object]] = []
    yield events
    with house.dav() as after:
        assert after.sync() == before, "something was written"
    told = {str(event.get("ref", "")) for event in house.events("refused-edit")}
    made = {path for path in files(house.folder) - kept if path.is_file()}
    # A member's refused text is kept on purpose, and the event log says under which name.
    assert {f"sha256:{path.name}" for path in made} <= told, "a file was made"
    found = house.events("refused")[seen:]
    assert len(found) == 1, found
    assert found[0]["actor"] == BOB
    assert found[0]["reason"]
    assert found[0]["code"] in {event["code"] for event in events}


def expect(events: list[Mapping[str, object]], reply: Reply, status: int, code: str) -> None:
    """Check the status, and that `code` will be the reason in the log."""
    assert reply.status == status, reply.body
    events.append({"code": code})


# -- bodies ------------------------------------------------------------------------------

BAD_BODIES = {
    "VEVENT": (
        calendar("BEGIN:VEVENT", "UID:e", "DTSTAMP:20261120T120000Z", "END:VEVENT"),
        "supported-calendar-component",
    ),
    "no calendar": (b"hello", "valid-calendar-data"),
    "cut off": (vtodo("cut")[:-30], "valid-calendar-data"),
    "two tasks": (vtodo("a") + vtodo("b"), "valid-calendar-object-resource"),
    "deep": (b"BEGIN:VCALENDAR\r\n" * 5000, "valid-calendar-data"),
    "11 MiB": (vtodo("big", "X-BIG:" + "a" * 11 * MIB), "max-resource-size"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_no_task_is_refused(
    dav: Dav, refusal: list[Mapping[str, object]], name: str
) -> None:
    body, condition = BAD_BODIES[name]
    reply = dav.put("bad.ics", body)
    expect(refusal, reply, 403, condition)
    assert C + condition in reply.conditions()
    assert dav.get("bad.ics").status == 404


def test_a_body_of_30_mib_is_refused(dav: Dav, refusal: list[Mapping[str, object]]) -> None:
    reply = dav.put("bad.ics", vtodo("big", "X-BIG:" + "a" * 30 * MIB))
    expect(refusal, reply, 413, "body-too-large")
    assert C + "max-resource-size" in reply.conditions()


def test_another_media_type_is_refused(dav: Dav, refusal: list[Mapping[str, object]]) -> None:
    reply = dav("PUT", f"{HOME}/personal/bad.ics", b"{}", content_type="application/json")
    expect(refusal, reply, 415, "supported-calendar-data")
    assert C + "supported-calendar-data" in reply.conditions()


def test_a_uid_used_elsewhere_is_a_conflict_that_names_its_task(
    dav: Dav, refusal: list[Mapping[str, object]]
) -> None:
    reply = dav.put("other.ics", vtodo("kept", summary="Taken"))
    expect(refusal, reply, 409, "no-uid-conflict")
    assert reply.xml.findtext(f"{C}no-uid-conflict/{D}href") == f"{HOME}/personal/kept%20name.ics"


@pytest.mark.parametrize(
    "headers", [{"if_match": '"stale"'}, {"if_match": "nothing"}, {"if_none_match": "*"}]
)
def test_a_precondition_that_is_not_true_is_412(
    dav: Dav, refusal: list[Mapping[str, object]], headers: dict[str, str]
) -> None:
    reply = dav.put("kept%20name.ics", vtodo("kept", summary="Lost"), **headers)
    expect(refusal, reply, 412, "conflict")
    assert reply.conditions()
    assert b"Lost" not in dav.get("kept%20name.ics").body


def test_a_stale_etag_deletes_nothing(dav: Dav, refusal: list[Mapping[str, object]]) -> None:
    reply = dav("DELETE", f"{HOME}/personal/kept%20name.ics", if_match='"stale"')
    expect(refusal, reply, 412, "conflict")


def test_nul_bytes_are_not_stored(dav: Dav) -> None:
    reply = dav.put("nul.ics", vtodo("nul", summary="a\x00b"))
    assert reply.status in (201, 403)
    assert b"\x00" not in dav.get("nul.ics").body
    assert "etag" not in reply.headers


# -- paths -------------------------------------------------------------------------------

TRICKS = [
    f"{HOME}/personal/../../../../etc/cron.d/x.ics",
    f"{HOME}/personal/%2e%2e/%2e%2e/x.ics",
    f"{HOME}/personal/..%2f..%2fx.ics",
    f"{HOME}/personal/..%2F..%2F..%2F_keys%2Fk1.ed25519",
    f"{HOME}/personal/..%5c..%5cx.ics",
    f"{HOME}/personal/%00.ics",
    f"{HOME}/personal/x.ics%00.txt",
    f"{HOME}/personal/%0d%0aSet-Cookie:%20a=b",
    f"{HOME}/personal//x.ics",
    f"{HOME}/personal/%ff%fe.ics",
    f"{HOME}/personal/" + "a" * 5000 + ".ics",
    f"{HOME}/%2e%2e/carol%40home.example/personal/x.ics",
]


def raw(gateway: Gateway, method: str, path: str, *lines: str, body: bytes = b"") -> Reply:
    """Send a request byte for byte: HTTP libraries would tidy the path."""
    with gateway.dav() as dav:
        login = dav._login["Authorization"]
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: {login}", *lines]
    head += ["Content-Type: text/calendar", f"Content-Length: {len(body)}", "Connection: close"]
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as line:
        line.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    top, _, content = answer.partition(b"\r\n\r\n")
    first, *rest = top.decode("latin-1").split("\r\n")
    headers = dict(one.lower().split(": ", 1) for one in rest)
    return Reply(int(first.split()[1]), headers, content)


@pytest.mark.parametrize("path", TRICKS)
def test_a_path_that_no_name_can_have_is_refused(
    house: Gateway, refusal: list[Mapping[str, object]], path: str
) -> None:
    reply = raw(house, "PUT", path, body=vtodo("trick"))
    expect(refusal, reply, 400, "bad-request")
    assert "set-cookie" not in reply.headers
    for method in ("GET", "PROPFIND"):
        assert raw(house, method, path).status in (400, 404)


def test_a_raw_nul_in_the_request_line_is_refused(house: Gateway, dav: Dav) -> None:
    before = dav.sync()
    assert raw(house, "PUT", f"{HOME}/personal/\x00.ics", body=vtodo("trick")).status == 400
    with house.dav() as after:
        assert after.sync() == before


@pytest.mark.parametrize(
    "target",
    [
        f"{HOME}/personal/..%2f..%2fx.ics",
        f"{HOME}/personal/../x.ics",
        f"{HOME}/personal/%00.ics",
        "/etc/passwd",
        "//[",
    ],
)
def test_a_move_to_a_path_that_no_name_can_have_is_refused(
    house: Gateway, dav: Dav, refusal: list[Mapping[str, object]], target: str
) -> None:
    source = f"{HOME}/personal/kept%20name.ics"
    expect(refusal, raw(house, "MOVE", source, f"Destination: {target}"), 400, "bad-request")
    assert dav.get("kept%20name.ics").status == 200


def test_a_move_to_another_server_is_refused(house: Gateway, dav: Dav) -> None:
    source = f"{HOME}/personal/kept%20name.ics"
    target = f"http://elsewhere.example{HOME}/personal/x.ics"
    assert raw(house, "MOVE", source, f"Destination: {target}").status == 502
    assert dav.get("kept%20name.ics").status == 200


def test_the_home_of_somebody_else_is_closed(house: Gateway, dav: Dav) -> None:
    other = f"/dav/{quote(CAROL, safe='')}/personal/"
    with house.dav(CAROL) as carol:
        before = carol.sync()
        for method, path in (("PUT", other + "x.ics"), ("PROPFIND", other), ("DELETE", other)):
            assert dav(method, path, vtodo("x") if method == "PUT" else b"").status in (403, 404)
        assert carol.sync() == before


def test_without_a_password_nothing_is_told(house: Gateway) -> None:
    with Dav(house.port, BOB, "aaaaa-bbbbb-ccccc-ddddd") as stranger:
        for path in (*TRICKS[:3], f"{HOME}/personal/kept%20name.ics", f"{HOME}/personal/none.ics"):
            assert stranger("GET", path).status == 401


# -- XML ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><propfind xmlns="DAV:"><prop>&b;</prop></propfind>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "<propfind",
        "<a>" * 20_000,
    ],
)
def test_xml_that_is_dangerous_or_none_is_400(dav: Dav, body: str) -> None:
    reply = dav("PROPFIND", f"{HOME}/personal/", body, depth="1", content_type="application/xml")
    assert reply.status == 400
    assert b"root:" not in reply.body
