"""Managed attachments: actions, downloads, limits (RFC 8607)."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from davdoor import C, Door, Reply, vtodo
from house import ALICE, BOB, CAROL, TEAM

from bridge.caldav.call import Settings
from bridge.model.patch import Role

HOME = "/dav/alice@home.example"
TASK = f"{HOME}/personal/a.ics"
PDF = b"%PDF-1.7 the plan"
ID = hashlib.sha256(PDF).hexdigest()


def post(
    dav: Door,
    query: str,
    body: bytes = PDF,
    path: str = TASK,
    name: str = 'attachment; filename="plan.pdf"',
    **headers: Any,
) -> Reply:
    kind = headers.pop("content_type", "application/pdf")
    return dav("POST", f"{path}?{query}", body, content_type=kind,
               http_content_disposition=name, **headers)  # fmt: skip


def lines(dav: Door, path: str = TASK, **headers: Any) -> list[str]:
    text = dav("GET", path, **headers).body.decode().replace("\r\n ", "")
    return [line for line in text.split("\r\n") if line.startswith("ATTACH")]


def address(line: str) -> str:
    return urlsplit(line.partition(f"SIZE={len(PDF)}:")[2]).path


@pytest.fixture
def task(dav: Door) -> Door:
    dav.put("a.ics", vtodo("a", "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "END:VALARM"))
    return dav


def test_an_attachment_is_added_and_downloaded(task: Door) -> None:
    before = task("GET", TASK).headers["etag"]
    reply = post(task, "action=attachment-add")
    assert reply.status == 201
    assert reply.headers["cal-managed-id"] == ID
    (line,) = lines(task)
    assert f"MANAGED-ID={ID};FMTTYPE=application/pdf;FILENAME=plan.pdf;SIZE={len(PDF)}:" in line
    assert ":https://home.example/dav/attachments/" in line
    assert task("GET", TASK).headers["etag"] != before
    got = task("GET", address(line))
    assert (got.status, got.body) == (200, PDF)
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''plan.pdf"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["content-type"] == "application/pdf"
    assert task("GET", address(line), if_none_match=got.headers["etag"]).status == 304


def test_the_task_holds_the_blob_as_its_own_attachment(task: Door) -> None:
    post(task, "action=attachment-add")
    (row,) = task.gateway.index.listing(_project(task))
    found = task.gateway.index.row(_project(task), row.href)
    assert found is not None
    state = task.gateway.index.task(found.task)
    assert state is not None
    assert (
        state.keys[f"attach_{ID}"]
        == f'{{"name":"plan.pdf","size":{len(PDF)},"type":"application/pdf"}}'
    )
    # A client that sends back what it read changes nothing and loses nothing.
    again = task("GET", TASK)
    assert task.put("a.ics", again.body, if_match=again.headers["etag"]).status == 204
    assert task("GET", TASK).body == again.body


def _project(dav: Door) -> Any:
    return dav.gateway.index.homes(ALICE)[0].project


def test_an_attachment_is_replaced_and_removed(task: Door) -> None:
    post(task, "action=attachment-add")
    (old,) = lines(task)
    new = post(task, f"action=attachment-update&managed-id={ID}", b"better")
    assert new.status == 204
    other = new.headers["cal-managed-id"]
    assert other == hashlib.sha256(b"better").hexdigest()
    (line,) = lines(task)
    assert f"MANAGED-ID={other};" in line
    assert task("GET", address(old)).status == 404
    gone = post(task, f"action=attachment-remove&managed-id={other}", b"")
    assert gone.status == 204
    assert lines(task) == []
    assert b"BEGIN:VALARM" in task("GET", TASK).body


def test_the_task_is_shown_where_that_is_preferred(task: Door) -> None:
    reply = post(task, "action=attachment-add", prefer="return=representation")
    assert reply.status == 201
    assert reply.headers["cal-managed-id"] == ID
    assert reply.body == task("GET", TASK).body
    assert reply.headers["etag"] == task("GET", TASK).headers["etag"]


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("action=attachment-eat", "valid-action-parameter"),
        ("managed-id=1", "valid-action-parameter"),
        ("&".join(f"a{n}=1" for n in range(20)), "valid-action-parameter"),
        ("action=attachment-add&managed-id=1", "valid-managed-id-parameter"),
        ("action=attachment-remove", "valid-managed-id-parameter"),
        ("action=attachment-remove&managed-id=1", "valid-managed-id-parameter"),
        (f"action=attachment-update&managed-id={'0' * 64}", "valid-managed-id-parameter"),
        ("action=attachment-add&rid=20270101", "valid-rid-parameter"),
    ],
)
def test_wrong_parameters_are_refused_by_name(task: Door, query: str, condition: str) -> None:
    reply = post(task, query)
    assert reply.status == 403
    assert C + condition in reply.conditions()
    assert lines(task) == []


def test_a_task_that_is_not_there_or_has_changed(task: Door) -> None:
    for path in (f"{HOME}/personal/no.ics", f"{HOME}/requests/no.ics", f"{HOME}/no/a.ics"):
        assert post(task, "action=attachment-add", path=path).status == 404
    assert post(task, "action=attachment-add", if_match='"old"').status == 412
    assert lines(task) == []


def test_too_much_is_refused_by_name() -> None:
    dav = Door(settings=Settings(max_body_octets=2000))
    dav.put("a.ics", vtodo("a"))
    reply = post(dav, "action=attachment-add", b"x" * 2001)
    assert reply.status == 413
    assert C + "max-attachment-size" in reply.conditions()
    props = dav.propfind(
        f"{HOME}/personal/", "<C:max-attachment-size/><C:max-attachments-per-resource/>"
    ).props()
    assert props[C + "max-attachment-size"].text == "2000"
    assert props[C + "max-attachments-per-resource"].text == "100"
    home = dav.propfind(f"{HOME}/", "<C:managed-attachments-server-URL/>").props()
    assert len(home[C + "managed-attachments-server-URL"]) == 0


def test_a_task_holds_only_so_many(task: Door) -> None:
    many = [f"ATTACH:https://x.example/{n}" for n in range(100)]
    task.put("a.ics", vtodo("a", *many))
    reply = post(task, "action=attachment-add")
    assert reply.status == 403
    assert C + "max-attachments-per-resource" in reply.conditions()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\x\\\\plan.pdf"', "plan.pdf"),
        ("attachment; filename*=UTF-8''Pl%C3%A4ne%3B.pdf", "Pläne;.pdf"),
        ("attachment", "attachment"),
        ('attachment; filename="..."', "attachment"),
        ("attachment; filename*=UTF-8''a%0D%0AEND%3AVTODO", "aEND:VTODO"),
        ("attachment; filename=" + "x" * 900, "x" * 200),
    ],
)
def test_names_are_only_names(task: Door, header: str, name: str) -> None:
    post(task, "action=attachment-add", name=header)
    (line,) = lines(task)
    got = task("GET", address(line))
    told = unquote(got.headers["content-disposition"].partition("''")[2])
    assert told == name


@pytest.mark.parametrize("kind", ["text/html", "no type", "a/b\r\nX: y", "image/svg+xml;charset=x"])
def test_no_browser_runs_what_was_attached(task: Door, kind: str) -> None:
    post(task, "action=attachment-add", content_type=kind)
    got = task("GET", address(lines(task)[0]))
    assert got.headers["content-disposition"].startswith("attachment;")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-type"] in {
        "text/html", "image/svg+xml", "application/octet-stream"
    }  # fmt: skip


def test_an_odd_host_is_not_believed(task: Door) -> None:
    post(task, "action=attachment-add", host="evil.example/x?y")
    assert ":https://home.example/dav/" in lines(task)[0]
    post(task, f"action=attachment-update&managed-id={ID}", b"n", host="127.0.0.1:5232")
    assert ":http://127.0.0.1:5232/dav/" in lines(task)[0]


def test_only_who_sees_the_task_sees_its_attachments(dav: Door) -> None:
    dav.house.team(bob=Role.MEMBER, carol=Role.GUEST)
    segment = TEAM.partition("@")[0]
    path = f"{HOME}/{segment}/a.ics"
    dav("PUT", path, vtodo("a"), content_type="text/calendar")
    assert post(dav, "action=attachment-add", path=path).status == 201
    where = address(lines(dav, path)[0])
    assert dav("GET", where, user=BOB).body == PDF
    assert dav("GET", where, user=CAROL).status == 404
    assert dav("GET", where, user=None).status == 401
    for wrong in (
        where[:-1],
        where[:-64] + "0" * 64,
        f"/dav/attachments/{ID}",
        f"/dav/attachments/nothing/{ID}",
        f"/dav/attachments/{quote('0' * 32 + '-' + TEAM)}/{ID}",
    ):
        assert dav("GET", wrong).status == 404
    assert dav("PUT", where, b"x").status == 403
    assert dav("PROPFIND", where, b"").status == 403
    guest = f"/dav/carol@home.example/{segment}/a.ics"
    assert post(dav, "action=attachment-add", path=guest, user=CAROL).status == 404
    assert post(dav, "action=attachment-add", path=path, user=BOB).status == 403
    dav("DELETE", path)
    assert dav("GET", where, user=BOB).status == 404


def test_they_are_announced(dav: Door) -> None:
    classes = dav("OPTIONS", f"{HOME}/").headers["dav"].split(", ")
    assert "calendar-managed-attachments" in classes
    assert "calendar-managed-attachments-no-recurrence" in classes
