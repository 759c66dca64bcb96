"""``tx-bridge task``: tasks from the command line; each change is a patch as from any door."""

from __future__ import annotations

import json
import mimetypes
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.cli.names import find_project, find_task, home_of, project_of_task, short_task
from bridge.cli.project import pairs
from bridge.cli.session import Session, session
from bridge.cli.shape import ADDRESS, FILE, Group, as_option, json_option
from bridge.cli.speech import document, note, say, short, table
from bridge.errors import Invalid
from bridge.model.ids import Address, project_of, task_hex, task_id
from bridge.model.patch import MAX_VALUE, read_key
from bridge.model.roles import sees
from bridge.model.state import ANNOTATION, ASSIGNEE, ATTACHMENT, TAG
from bridge.store.index_contract import Window
from bridge.store.rows import BLOB
from bridge.wire import caldate
from bridge.worker.command import (
    Annotate,
    Attach,
    CompleteTask,
    CreateTask,
    DeleteTask,
    SetKeys,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bridge.model.state import TaskState

_CLOSED: Final = frozenset({"completed", "cancelled", "deleted"})
_DATES: Final = frozenset({"due", "start", "end", "wait", "scheduled"})
_STATES: Final = ("needs_action", "in_progress", "blocked", "completed", "cancelled", "deleted")
_PRIORITIES: Final = ("low", "normal", "high")
_PROGRESS_MAX: Final = 100


@click.group(cls=Group)
def task() -> None:
    """Tasks.

    TASK is an id, or four or more of its hex digits from either end, as lists show them.
    """


@task.command("list")
@click.argument("which", metavar="[PROJECT]", required=False)
@click.option("--as", "acting", type=ADDRESS, metavar="ADDRESS", help="Only what this user sees.")
@click.option("--all", "closed", is_flag=True, help="Completed and cancelled ones too.")
@json_option
def list_(which: str | None, acting: Address | None, closed: bool, as_json: bool) -> None:
    """Show the open tasks of a project, of a user, or of all projects."""
    with session() as opened:
        found = list(_listed(opened, which, acting))
    tasks = [one for one in found if closed or one.value("status") not in _CLOSED]
    tasks.sort(key=lambda one: (one.value("due") or "~", one.created_at))
    if as_json:
        document([_described(one) for one in tasks])
        return
    table(
        ("TASK", "STATUS", "PRIORITY", "DUE", "TITLE", "ASSIGNEES"),
        [
            (
                short_task(one.id),
                one.value("status"),
                one.value("priority"),
                one.value("due"),
                short(one.value("description") or ""),
                ", ".join(_elements(one, ASSIGNEE)),
            )
            for one in tasks
        ],
        empty="there are no such tasks",
    )


def _listed(opened: Session, which: str | None, acting: Address | None) -> Iterator[TaskState]:
    index = opened.gateway.index
    if acting is not None:
        opened.person(acting)
    if which is not None:
        projects = [find_project(opened.gateway, which).id]
    elif acting is not None:
        projects = list(home_of(opened.gateway, acting))
    else:
        projects = list(index.projects())
    for project in projects:
        state = index.project(project)
        for row in index.texts(project, Window()):
            found = index.task(row.task)
            if found is None or state is None:
                continue
            if acting is None or sees(acting, state, found):
                yield found


def _elements(state: TaskState, prefix: str) -> list[str]:
    return sorted(key.removeprefix(prefix) for key in state.keys if key.startswith(prefix))


def _described(state: TaskState) -> dict[str, Any]:
    return {
        "task": state.id,
        "project": project_of(state.id),
        "title": state.value("description") or "",
        "status": state.value("status"),
        "keys": state.keys,
        "created": state.created_at,
        "created_by": state.created_by,
        "modified": state.modified_at,
        "seq": state.modified_seq,
    }


@task.command()
@click.argument("which", metavar="TASK")
@json_option
def show(which: str, as_json: bool) -> None:
    """Show a task with all its keys, comments and attachments."""
    with session() as opened:
        state = find_task(opened.gateway, which)
        row = opened.gateway.index.row_of(state.id)
        keys = {key: _whole(opened, state, value) for key, value in state.keys.items()}
        name = project_of_task(opened.gateway, state).name
    described = _described(state) | {"keys": keys, "project_name": name}
    if row is not None:
        described |= {"href": row.href, "uid": row.uid, "etag": row.etag}
    if as_json:
        document(described)
        return
    say(f"task      {state.id}")
    say(f"project   {name}")
    say(f"created   {state.created_at} by {state.created_by}")
    say(f"modified  {state.modified_at} (entry {state.modified_seq})")
    for key, value in sorted(keys.items()):
        say(_line(key, value))


def _whole(opened: Session, state: TaskState, value: str) -> str:
    """Return a value, also one that was too long for a patch."""
    if not value.startswith(BLOB):
        return value
    name = value.removeprefix(BLOB)
    return opened.gateway.blobs.read(project_of(state.id), name).decode()  # type: ignore[arg-type]  # checked when it was read


def _line(key: str, value: str) -> str:
    if key.startswith(ANNOTATION):
        second = key.removeprefix(ANNOTATION)
        at = caldate.from_epoch(int(second)) if second.isdigit() else second
        return f"comment   {at}: {value}"
    if key.startswith(ATTACHMENT):
        try:
            facts = json.loads(value)
            return f"attached  {facts['name']} ({facts['type']}, {facts['size']} bytes)"
        except (ValueError, KeyError, TypeError):
            return f"attached  {key.removeprefix(ATTACHMENT)}"
    return f"{key:<9} {value}"


@task.command()
@click.argument("which", metavar="PROJECT")
@click.argument("title")
@click.argument("settings", metavar="[KEY=VALUE...]", nargs=-1)
@click.option("--notes", help="Long text.")
@click.option("--due", metavar="DATE", help="2026-12-01, or with a time: 2026-12-01T09:00:00Z.")
@click.option("--start", metavar="DATE", help="As --due.")
@click.option("--priority", type=click.Choice(_PRIORITIES))
@click.option("--tag", multiple=True, help="Repeat for more.")
@click.option("--assign", type=ADDRESS, multiple=True, metavar="ADDRESS", help="Who is to do it.")
@as_option
@json_option
def add(
    which: str, title: str, settings: tuple[str, ...], acting: Address | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Make a task and print its id."""
    asked: dict[str, str | None] = {"description": title}
    asked |= {key: options[key] for key in ("notes", "due", "start", "priority") if options[key]}
    asked |= {TAG + tag: "" for tag in options["tag"]}
    asked |= {ASSIGNEE + person: "requested" for person in options["assign"]}
    asked |= pairs(settings)
    keys = {key: value for key, value in checked(asked).items() if value is not None}
    with session() as opened:
        state = find_project(opened.gateway, which)
        made = task_id(opened.gateway.new_id(), state.id)
        actor = opened.actor(state, acting)
        receipt = opened.do(CreateTask(actor=actor, task=made, keys=keys))
    if as_json:
        document({"task": made, "project": state.id, "seq": receipt.seq, "patch": receipt.patch})
    else:
        say(made)


def checked(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return changes of keys in their one spelling.

    Raises:
        Invalid: ``bad-value``: no client could read such a date, status, priority or
            progress; ``bad-op``: no such key can be; ``too-large``.
    """
    good: dict[str, str | None] = {}
    for key, value in changes.items():
        good[read_key(key)] = value
        if value is None:
            continue
        size = len(value.encode())
        if size > MAX_VALUE:
            raise Invalid("too-large", f"{key} has {size} bytes, at most {MAX_VALUE} are allowed")
        if key in _DATES:
            good[key] = caldate.canonical(value)
            if good[key] is None:
                raise _bad(key, value, "a date such as 2026-12-01 or 2026-12-01T09:00:00Z")
        elif key == "status" and value not in _STATES:
            raise _bad(key, value, f"one of {', '.join(_STATES)}")
        elif key == "priority" and value not in _PRIORITIES:
            raise _bad(key, value, f"one of {', '.join(_PRIORITIES)}")
        elif key == "progress" and not (value.isdecimal() and int(value) <= _PROGRESS_MAX):
            raise _bad(key, value, "a number from 0 to 100")
    return good


def _bad(key: str, value: str, wanted: str) -> Invalid:
    return Invalid("bad-value", f"{key} cannot be {value!r}: it must be {wanted}")


@task.command("set")
@click.argument("which", metavar="TASK")
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@as_option
def set_(which: str, settings: tuple[str, ...], acting: Address | None) -> None:
    """Change keys of a task, for example due=2026-12-01; KEY= takes one away."""
    changes = checked(pairs(settings))
    with session() as opened:
        state = find_task(opened.gateway, which)
        actor = opened.actor(project_of_task(opened.gateway, state), acting)
        opened.do(SetKeys(actor=actor, task=state.id, changes=changes))


@task.command()
@click.argument("which", metavar="TASK")
@as_option
def complete(which: str, acting: Address | None) -> None:
    """Mark a task completed now."""
    with session() as opened:
        state = find_task(opened.gateway, which)
        actor = opened.actor(project_of_task(opened.gateway, state), acting)
        opened.do(CompleteTask(actor=actor, task=state.id))


@task.command()
@click.argument("which", metavar="TASK")
@as_option
def delete(which: str, acting: Address | None) -> None:
    """Hide a task; it stays in the history and can be restored."""
    with session() as opened:
        state = find_task(opened.gateway, which)
        actor = opened.actor(project_of_task(opened.gateway, state), acting)
        opened.do(DeleteTask(actor=actor, task=state.id))
    note(f"deleted; tx-bridge task set {task_hex(state.id)} status=needs_action restores it")


@task.command()
@click.argument("which", metavar="TASK")
@click.argument("text")
@as_option
def annotate(which: str, text: str, acting: Address | None) -> None:
    """Add a comment."""
    with session() as opened:
        state = find_task(opened.gateway, which)
        actor = opened.actor(project_of_task(opened.gateway, state), acting)
        opened.do(Annotate(actor=actor, task=state.id, text=text))


@task.command()
@click.argument("which", metavar="TASK")
@click.argument("file", type=FILE)
@click.option("--name", help="Shown instead of the file's name.")
@click.option("--type", "media_type", help="Media type.  [default: by the file's name]")
@as_option
def attach(
    which: str, file: Path, name: str | None, media_type: str | None, acting: Address | None
) -> None:
    """Attach a file to a task."""
    with session() as opened:
        state = find_task(opened.gateway, which)
        project = project_of_task(opened.gateway, state)
        actor = opened.actor(project, acting)
        with file.open("rb") as content:
            data = content.read(opened.config.max_attachment + 1)
        if len(data) > opened.config.max_attachment:
            raise Invalid(
                "too-large", f"{file} is larger than {opened.config.max_attachment} bytes"
            )
        name = name or file.name
        digest = opened.gateway.keep_blob(project.id, data)
        guessed = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        opened.do(
            Attach(
                actor=actor,
                task=state.id,
                digest=digest,
                name=name,
                media_type=guessed,
                size=len(data),
            )
        )
