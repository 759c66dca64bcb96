"""Segments, tokens, bodies, memory of what was served, answers: the pure parts of the door."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.caldav import answers, upload
from bridge.caldav.call import split_path
from bridge.caldav.collection import Collection, Kind, privileges
from bridge.caldav.making import new_project
from bridge.caldav.segments import Segments
from bridge.caldav.served import Client, Served
from bridge.caldav.upload import Sent
from bridge.errors import BridgeError, Corrupt, Invalid, NotFound, Unavailable
from bridge.model.ids import Address, Domain, ProjectId, parse_project
from bridge.model.patch import Role
from bridge.store.directory import open_memory
from bridge.store.directory_records import User
from bridge.worker.command import Conflict, Need, Refused

D = "{DAV:}"
ALICE = Address("alice@home.example")
HOME = Domain("home.example")
UNIQUE = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
OURS = ProjectId(f"{UNIQUE}@home.example")
THEIRS = ProjectId(f"{UNIQUE}@else.example")


@pytest.fixture
def segments() -> Segments:
    directory = open_memory()
    directory.people.add(User(address=ALICE, name="", created=datetime(2026, 1, 1, tzinfo=UTC)))
    return Segments(HOME, directory.properties)


# -- names -------------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_any_path_splits_into_safe_names_or_is_refused(path: str) -> None:
    parts: tuple[str, ...] = ()
    with contextlib.suppress(Invalid):
        parts = split_path(path)
    for part in parts:
        assert part not in {"", ".", ".."}
        assert not set(part) & set("/\\\0\r\n")


@pytest.mark.parametrize("project", [ProjectId(ALICE), OURS, THEIRS])
def test_the_name_of_a_project_leads_back_to_it(segments: Segments, project: ProjectId) -> None:
    segment = segments.segment_of(ALICE, project)
    assert segments.candidates(ALICE, segment)[0] == project


def test_names_of_different_projects_differ(segments: Segments) -> None:
    names = {segments.segment_of(ALICE, p) for p in (ProjectId(ALICE), OURS, THEIRS)}
    assert len(names) == 3
    assert not names & {"requests"}


def test_an_alias_comes_before_a_project_of_that_name(segments: Segments) -> None:
    made = new_project(uuid.UUID(int=5), HOME)
    segments.choose(ALICE, UNIQUE, made)
    assert segments.candidates(ALICE, UNIQUE) == (made, OURS)
    assert segments.segment_of(ALICE, made) == UNIQUE
    assert segments.segment_of(ALICE, OURS) == OURS
    assert segments.candidates(Address("bob@home.example"), UNIQUE) == (OURS,)


@pytest.mark.parametrize("name", ["personal", "requests", "a@b", "..", "a/b", "", "n" * 201])
def test_some_names_cannot_be_chosen(segments: Segments, name: str) -> None:
    with pytest.raises(Invalid):
        segments.choose(ALICE, name, OURS)


def test_new_projects_cannot_meet_a_mailbox() -> None:
    project = new_project(uuid.UUID("01890000-0000-7000-8000-000000000001"), HOME)
    assert parse_project(project) == project
    assert len(project.partition("@")[0]) == 26


# -- tokens ------------------------------------------------------------------------------


def collection(seq: int = 7, *, limited: bool = False, project: ProjectId = OURS) -> Collection:
    return Collection(
        kind=Kind.PROJECT,
        user=ALICE,
        segment="x",
        project=project,
        role=Role.MEMBER,
        seq=seq,
        stamp="0123456789abcdef",
        limited=limited,
    )


def test_a_token_is_a_uri_that_leads_back_to_its_position() -> None:
    one = collection()
    assert one.sync_token.startswith("urn:")
    assert one.position(one.sync_token) == (7, "01234567")
    assert collection(limited=True).position(one.sync_token) is None
    assert collection(project=THEIRS).position(one.sync_token) is None


@given(st.text(max_size=80))
def test_any_text_is_a_token_or_none(text: str) -> None:
    collection().position(text)
    collection().position("urn:tx-bridge:sync:" + text)


def test_privileges_follow_the_role() -> None:
    assert {"bind", "unbind", "write-content", "write"} <= set(privileges(collection()))
    guest = Collection(kind=Kind.PROJECT, user=ALICE, role=Role.GUEST, project=OURS)
    assert "write-content" in privileges(guest)
    assert not {"bind", "unbind", "write"} & set(privileges(guest))
    requests = Collection(kind=Kind.REQUESTS, user=ALICE, segment="requests")
    assert "unbind" in privileges(requests)
    assert "bind" not in privileges(requests)


# -- bodies ------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_a_body_called_exact_is_the_text_octet_by_octet(body: bytes) -> None:
    sent = upload.read_body(body, "text/calendar", 1000)
    if isinstance(sent, Sent) and sent.exact:
        assert sent.text.encode() == body


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("text/calendar", None),
        ('TEXT/Calendar; component=VTODO; charset="UTF-8"', None),
        ("", None),
        ("text/calendar; charset=iso-8859-1", "supported-calendar-data"),
        ("application/xml", "supported-calendar-data"),
    ],
)
def test_the_media_type_decides(header: str, code: str | None) -> None:
    sent = upload.read_body(b"x", header, 1000)
    assert (sent.code if isinstance(sent, Refused) else None) == code


def test_a_byte_order_mark_goes_and_so_does_exactness() -> None:
    sent = upload.read_body(b"\xef\xbb\xbfBEGIN:VCALENDAR", "", 1000)
    assert sent == Sent(text="BEGIN:VCALENDAR", exact=False)


# -- memory of what was served -----------------------------------------------------------


def served_texts(octets_max: int = 32 * 1024 * 1024) -> Served:
    """Return a memory that has no log to look things up in."""
    known, now = open_memory().known, datetime(2026, 1, 1, tzinfo=UTC)
    return Served(known, lambda *_, **__: None, lambda: now, octets_max)


def test_each_client_is_remembered_apart() -> None:
    served = served_texts()
    phone, desk = Client("1", "phone"), Client("1", "desk")
    served.note(phone, OURS, "a", "one")
    served.note(desk, OURS, "a", "two")
    assert served.known(phone, OURS, "a") == "one"
    assert served.known(desk, OURS, "a") == "two"
    served.forget(phone, OURS, "a")
    assert served.known(phone, OURS, "a") is None


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    served = served_texts(50_000)
    client = Client("1", "x")
    for number in range(1000):
        served.note(client, OURS, str(number), "t" * 100)
    assert served.known(client, OURS, "0") is None
    assert served.known(client, OURS, "999") == "t" * 100
    assert sum(served.known(client, OURS, str(n)) is not None for n in range(1000)) <= 100


# -- answers -----------------------------------------------------------------------------


def test_never_is_403_with_the_privilege_and_the_reason() -> None:
    refusal = Refused(code="forbidden", reason="no <deletes>", need=Need.UNBIND)
    answer = answers.refused(refusal, path="/dav/a/")
    assert answer.status is HTTPStatus.FORBIDDEN
    error = ET.fromstring(answer.body or b"")  # noqa: S314 - our own text
    assert error.find(f"{D}need-privileges/{D}resource/{D}privilege/{D}unbind") is not None
    assert error.findtext("{urn:tx-bridge:dav}reason") == "no <deletes>"


@pytest.mark.parametrize("code", ["missing-mandate", "approval-needed", "whatever-comes"])
def test_an_unknown_refusal_is_never_too(code: str) -> None:
    answer = answers.refused(Refused(code=code, reason="no"), path="/")
    assert answer.status is HTTPStatus.FORBIDDEN


def test_not_now_is_503_with_a_time() -> None:
    answer = answers.refused(Refused(code="too-many", reason="later", retry=True), path="/")
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert int(answer.headers["Retry-After"]) > 0


def test_only_a_conflict_is_412() -> None:
    assert answers.conflict(Conflict(reason="x")).status is HTTPStatus.PRECONDITION_FAILED


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("disk-full", "no room", retry=True), HTTPStatus.INSUFFICIENT_STORAGE),
        (Unavailable("queue-full", "busy", retry=True), HTTPStatus.SERVICE_UNAVAILABLE),
        (NotFound("no-such", "none"), HTTPStatus.NOT_FOUND),
        (Corrupt("log-gap", "damaged"), HTTPStatus.INTERNAL_SERVER_ERROR),
        (Invalid("bad-anything", "bad"), HTTPStatus.BAD_REQUEST),
        (Invalid("body-too-large", "big"), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (Invalid("no-parent", "none"), HTTPStatus.CONFLICT),
    ],
)
def test_errors_have_their_status(error: BridgeError, status: HTTPStatus) -> None:
    assert answers.failed(error).status is status
