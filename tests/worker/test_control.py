"""The same commands from another process, over the Unix socket."""

from __future__ import annotations

import os
import socket
import stat
import threading
import typing
import uuid
from typing import TYPE_CHECKING

import pytest
from house import ALICE, BOB, HOME, MALLORY, House, actor

from bridge import control
from bridge.control import ControlClient, ControlServer, Desk
from bridge.errors import Invalid, Unavailable
from bridge.model.ids import digest_of, task_id
from bridge.model.patch import Role, Via
from bridge.worker import command as commands
from bridge.worker.command import (
    Actor,
    Conflict,
    CreateTask,
    Expect,
    PutTask,
    Receipt,
    ReceiveRequest,
    Refused,
    SetKeys,
    SetMember,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def line(house: House, tmp_path: Path) -> Iterator[ControlClient]:
    house.worker.start()
    desk = Desk(submit=house.worker.submit, keep_blob=house.worker.keep_blob)
    server = ControlServer(tmp_path / "s", desk)
    client = ControlClient(tmp_path / "s")
    yield client
    client.close()
    server.close()
    house.worker.stop()


def test_every_command_and_every_answer_survives_the_socket() -> None:
    who = Actor(
        user=ALICE,
        via=Via.MAIL,
        credential="phone",
        cause={"rfa": "x"},
        evidence=({"kind": "smime", "signer": MALLORY, "ref": digest_of(b"m")},),
    )
    samples: list[commands.Command] = [
        SetMember(actor=who, project=HOME, user=BOB, role=Role.GUEST, scope=("a", "b")),
        SetMember(actor=who, project=HOME, user=BOB, role=None, scope="all"),
        SetKeys(actor=who, task=task_id(uuid.UUID(int=1), HOME), changes={"a": None, "b": "c"}),
        PutTask(
            actor=who,
            project=HOME,
            href="ü.ics",
            text="x\r\n",
            expect=Expect(etags=('"a"', "*"), absent=False),
            base=None,
        ),
        ReceiveRequest(
            id=uuid.UUID(int=5),
            recipient=ALICE,
            sender=MALLORY,
            level="P",
            method="smime",
            message=digest_of(b"m"),
            keys={"description": "é"},
        ),
        commands.IgnoreRequest(actor=who, request=uuid.UUID(int=6), block="domain"),
    ]
    for sample in samples:
        document = control._converter.unstructure(sample, unstructure_as=commands.Command)
        assert control._converter.structure(document, commands.Command) == sample  # type: ignore[arg-type]  # a union
    for kind in typing.get_args(commands.Command):
        assert kind.__name__ in {k.__name__ for k in typing.get_args(commands.Command)}
    answers: list[commands.Outcome] = [
        Receipt(project=HOME, seq=3, task=task_id(uuid.UUID(int=1), HOME), skipped=("0: older",)),
        Conflict(reason="no", etag='"x"'),
        Refused(code="forbidden", reason="no", need=commands.Need.BIND),
    ]
    for answer in answers:
        document = control._converter.unstructure(answer, unstructure_as=commands.Outcome)
        assert control._converter.structure(document, commands.Outcome) == answer  # type: ignore[arg-type]  # a union


def test_a_command_over_the_socket_is_committed(house: House, line: ControlClient) -> None:
    task = task_id(uuid.UUID(int=9), HOME)
    create = CreateTask(actor=actor(), task=task, keys={"description": "Über"})
    outcome = line.submit(create).result(10)
    assert isinstance(outcome, Receipt)
    assert outcome.created
    state = house.stores.index.task(task)
    assert state is not None
    assert state.value("description") == "Über"


def test_many_threads_share_the_socket(house: House, line: ControlClient) -> None:
    futures = [
        line.submit(
            CreateTask(
                actor=actor(), task=task_id(uuid.UUID(int=n + 1), HOME), keys={"description": "x"}
            )
        )
        for n in range(100)
    ]
    assert all(isinstance(future.result(30), Receipt) for future in futures)
    assert house.stores.index.count(HOME)[0] == 100


def test_a_blob_travels_over_the_socket(house: House, line: ControlClient) -> None:
    data = os.urandom(300_000)
    assert line.keep_blob(HOME, data) == digest_of(data)
    assert house.stores.blobs.read(HOME, digest_of(data)) == data


def test_a_blob_over_the_limit_is_refused_in_words(line: ControlClient) -> None:
    with pytest.raises(Invalid) as caught:
        line.keep_blob(HOME, b"x" * (25 * 1024 * 1024 + 1))
    assert caught.value.code == "too-large"


def test_only_the_gateways_user_may_open_the_socket(line: ControlClient, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    assert line is not None


def test_the_spool_may_lie_deeper_than_a_socket_address_is_long(
    house: House, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    house.worker.start()
    desk = Desk(submit=house.worker.submit, keep_blob=house.worker.keep_blob)
    server = ControlServer(deep / "s", desk)
    client = ControlClient(deep / "s")
    assert client.keep_blob(HOME, b"deep") == digest_of(b"deep")
    client.close()
    server.close()
    house.worker.stop()


def test_nonsense_on_the_socket_gets_an_error_and_harms_nobody(
    line: ControlClient, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as call:
        call.connect(str(tmp_path / "s"))
        control._send_frame(call, b"[1,2")
        answer = control._receive(call)
        assert answer is not None
        assert b"bad-command" in answer
    with socket.socket(socket.AF_UNIX) as call:
        call.connect(str(tmp_path / "s"))
        call.sendall(b"\xff\xff\xff\xff")
        assert call.recv(1) == b""
    create = CreateTask(
        actor=actor(), task=task_id(uuid.UUID(int=1), HOME), keys={"description": "x"}
    )
    assert isinstance(line.submit(create).result(10), Receipt)


def test_without_a_gateway_the_error_says_what_to_do(tmp_path: Path) -> None:
    client = ControlClient(tmp_path / "nobody")
    create = CreateTask(actor=actor(), task=task_id(uuid.UUID(int=1), HOME), keys={})
    with pytest.raises(Unavailable) as caught:
        client.submit(create).result(10)
    assert "serve" in caught.value.hint
    client.close()


def test_a_client_finds_a_restarted_gateway(house: House, tmp_path: Path) -> None:
    house.worker.start()
    desk = Desk(submit=house.worker.submit, keep_blob=house.worker.keep_blob)
    server = ControlServer(tmp_path / "s", desk)
    client = ControlClient(tmp_path / "s", threads=1)
    client.keep_blob(HOME, b"one")
    server.close()
    again = ControlServer(tmp_path / "s", desk)
    assert client.keep_blob(HOME, b"two") == digest_of(b"two")
    client.close()
    again.close()
    house.worker.stop()
    assert not [t for t in threading.enumerate() if t.name == "control"]
