"""PUT, DELETE and MOVE: what clients change, each as one command to the worker.

Preconditions travel with the command and are checked by the worker together with the write.
A PUT is answered with an ETag exactly where what is stored is what was sent (RFC 4791
section 5.3.4); every other client has to read again, and does.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from bridge.caldav import answers, conditions, requests, upload
from bridge.caldav.answers import Answer
from bridge.caldav.call import DEPTH_OF_TASK, split_path
from bridge.caldav.collection import Collection, Kind
from bridge.errors import Invalid, NotFound
from bridge.worker.command import (
    AcceptRequest,
    ArchiveProject,
    Conflict,
    DeclineRequest,
    DeleteTask,
    MoveTask,
    Need,
    PutTask,
    Receipt,
    Refused,
)

if TYPE_CHECKING:
    from bridge.caldav.call import Call
    from bridge.caldav.upload import Sent
    from bridge.model.ids import ProjectId
    from bridge.model.request import Request
    from bridge.worker.command import Command, Expect, Outcome

_EMPTY: Final = b""


def _refuse(call: Call, refused: Refused) -> Answer:
    """Return the answer to what this door refuses itself."""
    call.door.note_refusal(
        call.actor, call.method, call.href, code=refused.code, reason=refused.reason
    )
    return answers.refused(refused, path=call.href, sibling=call.sibling)


def _outcome(call: Call, outcome: Outcome) -> Receipt | Answer:
    if isinstance(outcome, Conflict):
        return answers.conflict(outcome)
    if isinstance(outcome, Refused):
        return answers.refused(outcome, path=call.href, sibling=call.sibling)
    return outcome


def _done(*, created: bool, etag: str = "") -> Answer:
    headers = {"ETag": etag} if etag else {}
    if created:
        return Answer(status=HTTPStatus.CREATED, headers=headers, body=_EMPTY)
    return Answer(status=HTTPStatus.NO_CONTENT, headers=headers)


def _expect(call: Call) -> Expect:
    return conditions.expectation(call.headers.get("if-match"), call.headers.get("if-none-match"))


# -- PUT ---------------------------------------------------------------------------------


def put(call: Call) -> Answer:
    """Answer PUT of a task (RFC 4791 section 5.3.2).

    Raises:
        Invalid: ``not-allowed`` for a collection, ``no-parent`` for a list that is not there.
    """
    if len(call.parts) < DEPTH_OF_TASK:
        # 405, not 409: Thunderbird would offer a calendar file here.
        raise Invalid("not-allowed", "a collection cannot be written as a whole")
    collection = call.found_list()
    if collection is None or len(call.parts) > DEPTH_OF_TASK:
        raise Invalid("no-parent", "there is no such list")
    sent = upload.read_body(
        call.body, call.headers.get("content-type", ""), call.door.settings.max_resource_octets
    )
    if isinstance(sent, Refused):
        return _refuse(call, sent)
    if collection.kind is Kind.REQUESTS:
        return _put_request(call, sent)
    return _put_task(call, collection, sent)


def _put_task(call: Call, collection: Collection, sent: Sent) -> Answer:
    door, name, project = call.door, call.parts[2], collection.project
    if project is None:
        raise NotFound("no-project", "there is no such list")
    request = requests.named_by(door.gateway.directory, call.user, sent.text)
    if request is not None:
        return _accept_by_copy(call, collection, request, sent)
    expect = _expect(call)
    outcome = door.submit(
        PutTask(
            actor=call.actor,
            project=project,
            href=name,
            text=sent.text,
            expect=expect,
            base=_base(call, project, expect),
        )
    )
    if isinstance(outcome, Conflict | Refused):
        door.refused_edits.keep(call.actor, (project, name), sent.text, outcome)
    done = _outcome(call, outcome)
    if isinstance(done, Answer):
        return done
    # What a client sent is what it knows until it reads again.
    exact = done.exact and sent.exact
    door.served.note(call.client, project, name, sent.text, own=not exact)
    etag = done.etag if exact else ""
    # A name whose task was deleted is free: for HTTP the resource is new, for the log not.
    return _done(created=done.created or expect.absent, etag=etag)


def _base(call: Call, project: ProjectId, expect: Expect) -> str | None:
    """Return what the client knows; one that names the ETag it has is up to date if that holds."""
    served, name = call.door.served, call.parts[2]
    if expect.absent or (expect.etags and "*" not in expect.etags):
        return served.held(call.client, project, name)
    return served.known(call.client, project, name)


def _accept_by_copy(call: Call, collection: Collection, request: Request, sent: Sent) -> Answer:
    """Accept the request whose task a client puts into a list: half of a move by copying."""
    if not conditions.holds(_expect(call), None):
        return answers.conflict(Conflict(reason="the task is not there yet"))
    changes = requests.changes_in(request, sent.text)
    outcome = call.door.submit(
        AcceptRequest(
            actor=call.actor,
            request=request.id,
            project=collection.project,
            href=call.parts[2],
            changes=changes | {"ical.uid": requests.uid_of(request)},
        )
    )
    done = _outcome(call, outcome)
    return done if isinstance(done, Answer) else _done(created=True)


# -- the Requests collection -------------------------------------------------------------


def _put_request(call: Call, sent: Sent) -> Answer:
    request = requests.find(call.door.gateway.directory, call.user, call.parts[2])
    if request is None:
        return _refuse(
            call,
            Refused(
                code="forbidden",
                reason="only others put tasks here; use one of your own lists",
                need=Need.BIND,
            ),
        )
    if not conditions.holds(_expect(call), requests.member(request).etag):
        return answers.conflict(Conflict(reason="the request has changed"))
    said, changes = requests.meaning(request, sent.text)
    command: Command
    match said:
        case requests.Meaning.NOTHING:
            return _done(created=False)
        case requests.Meaning.EDIT:
            reason = "accept the request first: start or complete it, or move it into a list"
            return _refuse(call, Refused(code="forbidden", reason=reason, need=Need.WRITE_CONTENT))
        case requests.Meaning.DECLINE:
            command = DeclineRequest(actor=call.actor, request=request.id)
        case requests.Meaning.ACCEPT:
            uid = {"ical.uid": requests.uid_of(request)}
            command = AcceptRequest(actor=call.actor, request=request.id, changes=changes | uid)
    done = _outcome(call, call.door.submit(command))
    return done if isinstance(done, Answer) else _done(created=False)


def _decline(call: Call, name: str) -> Answer:
    request = requests.find(call.door.gateway.directory, call.user, name)
    if request is None:
        raise NotFound("no-request", "there is no such request")
    if not conditions.holds(_expect(call), requests.member(request).etag):
        return answers.conflict(Conflict(reason="the request has changed"))
    outcome = call.door.submit(DeclineRequest(actor=call.actor, request=request.id))
    done = _outcome(call, outcome)
    return done if isinstance(done, Answer) else _done(created=False)


# -- DELETE ------------------------------------------------------------------------------


def delete(call: Call) -> Answer:
    """Answer DELETE: a task is hidden and can be restored, a list is archived by its creator.

    Raises:
        NotFound: there is nothing of that name.
    """
    collection = call.collection()
    if collection is not None:
        return _delete_collection(call, collection)
    collection, name = call.task()
    if collection.kind is Kind.REQUESTS:
        return _decline(call, name)
    row = call.reader.row(collection, name)
    if row is None:
        raise NotFound("no-task", "there is no such task")
    outcome = call.door.submit(DeleteTask(actor=call.actor, task=row.task, expect=_expect(call)))
    done = _outcome(call, outcome)
    if isinstance(done, Answer):
        return done
    call.door.served.forget(call.client, row.project, name)
    return _done(created=False)


def _delete_collection(call: Call, collection: Collection) -> Answer:
    if collection.project is None:
        return _refuse(
            call,
            Refused(code="forbidden", reason="this collection stays", need=Need.UNBIND),
        )
    outcome = call.door.submit(ArchiveProject(actor=call.actor, project=collection.project))
    if isinstance(outcome, Refused) and not outcome.retry:
        outcome = Refused(code="forbidden", reason=outcome.reason, need=Need.UNBIND)
    done = _outcome(call, outcome)
    return done if isinstance(done, Answer) else _done(created=False)


# -- MOVE --------------------------------------------------------------------------------


def move(call: Call) -> Answer:
    """Answer MOVE of a task to another name or list; of a request: accept it there.

    Raises:
        Invalid: ``not-allowed`` for collections, ``bad-request``, ``no-parent``.
        NotFound: there is no such task.
    """
    if len(call.parts) < DEPTH_OF_TASK:
        raise Invalid("not-allowed", "a list cannot be moved")
    source, name = call.task()
    parts = _destination(call)
    if parts is None:
        return Answer(status=HTTPStatus.BAD_GATEWAY, body=_EMPTY)
    if len(parts) != DEPTH_OF_TASK or parts[0].lower() != call.user:
        return _refuse(
            call,
            Refused(code="forbidden", reason="a task moves only into a list", need=Need.BIND),
        )
    target = call.reader.task_list(parts[1])
    if target is None:
        raise Invalid("no-parent", "there is no such list")
    if target.project is None:
        reason = "only others put tasks here"
        return _refuse(call, Refused(code="forbidden", reason=reason, need=Need.BIND))
    command: Command
    if source.kind is Kind.REQUESTS:
        request = requests.find(call.door.gateway.directory, call.user, name)
        if request is None:
            raise NotFound("no-request", "there is no such request")
        command = AcceptRequest(
            actor=call.actor,
            request=request.id,
            project=target.project,
            href=parts[2],
            changes={"ical.uid": requests.uid_of(request)},
        )
    else:
        row = call.reader.row(source, name)
        if row is None:
            raise NotFound("no-task", "there is no such task")
        command = MoveTask(
            actor=call.actor,
            task=row.task,
            project=target.project,
            href=parts[2],
            overwrite=call.headers.get("overwrite", "T").strip().upper() != "F",
        )
    existed = call.reader.row(target, parts[2]) is not None
    done = _outcome(call, call.door.submit(command))
    return done if isinstance(done, Answer) else _done(created=not existed)


def _destination(call: Call) -> tuple[str, ...] | None:
    """Return the segments of the Destination header, None if it is on another server.

    Raises:
        Invalid: ``bad-request``.
    """
    try:
        url = urlsplit(call.headers.get("destination", ""))
        path = unquote(url.path, errors="strict")
    except ValueError:
        raise Invalid("bad-request", "the destination is no address") from None
    hosts = {call.headers.get("host", ""), call.headers.get("x-forwarded-host", "")}
    if url.netloc and _host(url.netloc) not in {_host(host) for host in hosts}:
        return None
    prefix = call.door.settings.prefix
    if "/" in unquote(url.path.replace("/", "")) or not path.startswith(prefix + "/"):
        raise Invalid("bad-request", "the destination is not below this server's lists")
    return split_path(path[len(prefix) :])


def _host(netloc: str) -> str:
    """Return host and port without the ports that everybody leaves out."""
    return netloc.rpartition("@")[2].lower().removesuffix(":443").removesuffix(":80")
