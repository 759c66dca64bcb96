"""``tx-bridge log`` and ``revert``: who did what, and taking it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from bridge.cli import refusededits
from bridge.cli.history import Teller, Told, label
from bridge.cli.names import find_patch, find_project, find_task, short_patch, short_task
from bridge.cli.session import session
from bridge.cli.shape import ADDRESS, Command, as_option, json_option
from bridge.cli.speech import document, note, say, short
from bridge.errors import BridgeError, Invalid, NotFound
from bridge.model.ids import project_of
from bridge.worker.command import Revert

if TYPE_CHECKING:
    from bridge.model.ids import Address
    from bridge.store.rows import EntryRow
    from bridge.worker.gateway import Gateway

_HEX: Final = re.compile(r"(?:sha256:)?[0-9a-f-]{4,64}\Z")
_LINE: Final = 200


@click.command(cls=Command)
@click.argument("which", metavar="[PROJECT|TASK|PATCH]", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True,
    help="How many entries.",
)  # fmt: skip
@click.option("--author", type=ADDRESS, metavar="ADDRESS", help="Only what this person did.")
@click.option(
    "--refused", is_flag=True,
    help="Edits that were refused in the last 90 days instead, with what was sent.",
)  # fmt: skip
@json_option
def log(
    which: str | None, limit: int, author: Address | None, refused: bool, as_json: bool
) -> None:
    """Show history, newest first: who changed what, when, through which door.

    Of all projects, of a project, of a task, or one patch; ids may be shortened.
    """
    if refused:
        refusededits.show(which, limit, author, as_json=as_json)
        return
    with session() as opened:
        teller = Teller(opened.gateway)
        told = [teller.tell(row) for row in _rows(opened.gateway, which, limit, author)]
        names = {
            one: state.name
            for one in {item.row.project for item in told}
            if (state := opened.gateway.index.project(one)) is not None
        }
    if as_json:
        document([one.document() for one in told])
        return
    for position, one in enumerate(told):
        if position:
            say()
        _show(one, names.get(one.row.project, one.row.project))
    if not told:
        note("there is no history yet")


def _rows(
    gateway: Gateway, which: str | None, limit: int, author: Address | None
) -> list[EntryRow]:
    index = gateway.index
    # Authors are not indexed: more is read where one is asked for.
    depth = limit if author is None else 1_000_000
    if which is None:
        found = [
            row
            for project in index.projects()
            for row in index.history(project, before=None, limit=depth)
        ]
        found.sort(key=lambda row: (row.ts, row.seq), reverse=True)
    else:
        found = _named(gateway, which, depth)
    return [row for row in found if author is None or row.author == author][:limit]


def _named(gateway: Gateway, which: str, limit: int) -> list[EntryRow]:
    """Return the entries of what `which` names: a patch, a task or a project."""
    if _HEX.match(which.lower()):
        try:
            return [find_patch(gateway, which)]
        except NotFound:
            pass  # it may be the beginning or end of a task's id
    try:
        task = find_task(gateway, which)
    except NotFound as missing:
        try:
            project = find_project(gateway, which)
        except NotFound:
            raise NotFound(
                missing.code,
                f"there is no project, task or patch {which}",
                hint="tx-bridge project list and tx-bridge log show what there is",
            ) from None
        return list(gateway.index.history(project.id, before=None, limit=limit))
    return list(gateway.index.history(project_of(task.id), task.id, before=None, limit=limit))


def _show(told: Told, project: str) -> None:
    patch = told.entry.patch
    say(f"patch    {short_patch(patch.id)}  (entry {told.row.seq} of {project})")
    say(f"author   {patch.author} via {patch.via}{_proof(told)}")
    say(f"date     {told.entry.ts}")
    if told.row.task is not None:
        say(f"task     {short_task(told.row.task)}  {short(told.title)}")
    if patch.reverts:
        say(f"reverts  {short_patch(patch.reverts)}")
    for key, value in dict(patch.document.get("cause", {})).items():
        say(f"{key:<8} {short(str(value))}")
    say()
    if told.created:
        say("    created")
    for change in told.changes:
        say(f"    {short(label(change), _LINE)}")
    for skip in told.entry.skipped:
        say(f"    op {skip.op} lost: {skip.why}")


def _proof(told: Told) -> str:
    evidence = told.entry.patch.document.get("evidence", [])
    proofs = [
        f"{one.get('kind')} of {one.get('signer')}" for one in evidence if isinstance(one, dict)
    ]
    return f", proved by {' and '.join(proofs)}" if proofs else ""


@click.command(cls=Command)
@click.argument("patch")
@click.option("--force", is_flag=True, help="Also keys that were written again since.")
@as_option
@json_option
def revert(patch: str, force: bool, acting: Address | None, as_json: bool) -> None:
    """Take a patch back by a new one, which can be reverted too.

    Keys written again since are left alone and named, unless --force.
    """
    with session() as opened:
        row = find_patch(opened.gateway, patch)
        actor = opened.actor(find_project(opened.gateway, row.project), acting)
        try:
            receipt = opened.do(
                Revert(actor=actor, project=row.project, patch=row.patch, force=force)
            )
        except BridgeError as error:
            if error.code == "conflict" and not force:
                raise Invalid(
                    error.code, error.public, hint="--force takes them back too"
                ) from None
            raise
    if as_json:
        document(
            {
                "patch": receipt.patch,
                "reverts": row.patch,
                "task": receipt.task,
                "conflicts": receipt.conflicts,
            }
        )
        return
    if receipt.patch is None:
        note("nothing to take back: the task is as it was before")
        return
    say(receipt.patch)
    for key in receipt.conflicts:
        note(f"left alone, because it was written again since: {key}")
