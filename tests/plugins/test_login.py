"""Who comes in: app passwords, the brake for guesses, odd headers."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from davdoor import Door, vtodo
from house import ALICE

PERSONAL = "/dav/alice@home.example/personal/"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_requests_without_credentials_ask_for_a_login(dav: Door) -> None:
    reply = dav("PROPFIND", PERSONAL, user=None, depth="0")
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == 'Basic realm="TX Bridge"'


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Bearer abc",
        basic("alice@home.example:wrong"),
        basic("nobody@home.example:wrong"),
        basic(":"),
        basic("alice:" + "x" * 5000),
        basic("../../etc:passwd"),
    ],
)
def test_bad_credentials_are_401_never_an_error(dav: Door, header: str) -> None:
    reply = dav("PROPFIND", PERSONAL, user=None, authorization=header, depth="0")
    assert reply.status == 401


def test_a_hostile_content_type_does_not_disturb_the_login(dav: Door) -> None:
    reply = dav.propfind(PERSONAL, "<D:owner/>", content_type="text/xml; charset=rot13")
    assert reply.status == 207


def test_the_address_may_be_typed_in_capitals(dav: Door) -> None:
    header = basic(f"Alice@Home.Example:{dav.logins[ALICE]}")
    reply = dav("GET", "/dav/Alice@Home.Example/personal/", user=None, authorization=header)
    assert reply.status == 200


def test_a_revoked_password_is_refused_at_once(dav: Door) -> None:
    assert dav.propfind(PERSONAL, "<D:owner/>").status == 207
    for credential in dav.passwords._store.of(ALICE):
        dav.passwords._store.revoke(credential.id, dav.house.tick())
    assert dav.propfind(PERSONAL, "<D:owner/>").status == 401


def test_requests_without_credentials_never_count_as_failures(dav: Door) -> None:
    for _ in range(50):
        assert dav("PROPFIND", PERSONAL, user=None).status == 401
    wrong = basic("alice@home.example:wrong")
    assert dav("PROPFIND", PERSONAL, user=None, authorization=wrong).status == 401


def test_many_guesses_are_turned_away_with_503_and_known_logins_are_not(dav: Door) -> None:
    assert dav.propfind(PERSONAL, "<D:owner/>").status == 207
    seen = [
        dav("PROPFIND", PERSONAL, user=None, authorization=basic(f"bob@home.example:{n}")).status
        for n in range(25)
    ]
    assert seen == [401] * 20 + [503] * 5
    assert dav.propfind(PERSONAL, "<D:owner/>").status == 207
    dav.house.now += timedelta(seconds=61)
    late = dav("PROPFIND", PERSONAL, user=None, authorization=basic("bob@home.example:x"))
    assert late.status == 401


def test_writes_name_the_credential_in_the_event_log(dav: Door) -> None:
    dav.put("u1.ics", b"nonsense", list_="requests")
    assert dav.gateway.events.tail(1)[0]["credential"] == "test"
    assert dav.put("u1.ics", vtodo("u1")).status == 201
