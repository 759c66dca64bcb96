"""``tx-bridge verify``: is everything on disk what was signed? Without the network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge import app
from bridge.cli.audit import Damage, Report, examine, examine_blobs
from bridge.cli.container import unpack
from bridge.cli.session import check_spool, settings
from bridge.cli.shape import FILE, Command, json_option
from bridge.cli.speech import document, fail, progress, say, short
from bridge.errors import BridgeError, Misconfigured, NotFound
from bridge.model.ids import parse_project
from bridge.store.index import Index
from bridge.store.index_engine import open_index_file, open_index_url
from bridge.store.logreader import FileLogReader

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model.ids import ProjectId
    from bridge.store.spool import Layout
    from bridge.trust.patchsig import DomainKey


@click.command(cls=Command)
@click.argument("which", metavar="[PROJECT]", required=False)
@click.option("--archive", type=FILE, metavar="FILE", help="Check an exported archive instead.")
@json_option
def verify(which: str | None, archive: Path | None, as_json: bool) -> None:
    """Check logs from their first entry: chain, signatures, decisions, attachments.

    Names the first damage of each project with its file and line, and exits with 1 if there
    is any. Works beside a running gateway.
    """
    if archive is not None:
        if which is not None:
            raise click.UsageError("give a project or --archive, not both")
        reports = [_archived(archive)]
    else:
        reports = _stored(which)
    if as_json:
        document({"ok": not any(one.damage for one in reports),
                  "projects": [one.document() for one in reports]})  # fmt: skip
    else:
        for one in reports:
            _show(one)
    damaged = [one.project for one in reports if one.damage]
    if damaged:
        fail(
            f"{len(damaged)} of {len(reports)} projects damaged: {', '.join(damaged)}",
            "restore the container from a backup or from another member's server; "
            "what stands before the damage is good",
        )
        click.get_current_context().exit(1)


def _show(report: Report) -> None:
    head = short(report.state.hash.removeprefix("sha256:"), 13) if report.state else "no entries"
    name = report.state.name if report.state else ""
    shown = "" if name == report.project else f" {name}"
    state = "DAMAGED" if report.damage else "ok     "
    say(
        f"{state} {report.project}{shown}: {report.entries} entries, "
        f"{report.blobs} attachments, head {head}"
    )
    for one in report.damage:
        say(f"        {one.sentence}")


def _archived(file: Path) -> Report:
    with tempfile.TemporaryDirectory(prefix="tx-bridge-") as directory:
        layout, manifest = unpack(file, Path(directory))
        report = checked(layout, manifest.project, own=None)
        manifest.compare(report)
        return report


def checked(layout: Layout, project: ProjectId, *, own: DomainKey | None, seen: int = 0) -> Report:
    """Check one container; `seen` is the position that an index has seen of it."""
    reader = FileLogReader(layout)
    try:
        total = reader.count(project)
        with progress(f"verifying {short(project, 30)}", total) as reached:
            report, named = examine(project, reader.read(project), own=own, progress=reached)
    except BridgeError as error:
        where = str(error.fields.get("path") or error.fields.get("directory") or "log")
        return Report(
            project=project, damage=[Damage(code=error.code, file=where, detail=error.public)]
        )
    finally:
        reader.close()
    if report.entries < seen and not report.damage:
        report.damage.append(Damage(code="log-short", seq=report.entries + 1))
    if not report.damage:
        examine_blobs(report, layout.blobs(project), named)
    return report


def _stored(which: str | None) -> list[Report]:
    config = settings()
    layout = app.layout_of(config)
    check_spool(config)
    try:
        own: DomainKey | None = app.load_key(config)
    except Misconfigured:
        own = None  # an auditor need not have it
    # Before the logs: whatever the index has seen, they must hold.
    seen, names = _indexed(config, layout)
    on_disk = _containers(layout)
    wanted = sorted(on_disk | set(seen)) if which is None else [_named(which, on_disk, names)]
    return [checked(layout, one, own=own, seen=seen.get(one, 0)) for one in wanted]


def _containers(layout: Layout) -> set[ProjectId]:
    """Return all containers, also those whose log is too damaged for a reader to list."""
    found = set()
    for path in layout.store.glob("*/*/log"):
        try:
            project = parse_project(f"{path.parent.name}@{path.parent.parent.name}")
        except BridgeError:
            continue
        if layout.log(project) == path:
            found.add(project)
    return found


def _indexed(config: Config, layout: Layout) -> tuple[dict[ProjectId, int], dict[str, ProjectId]]:
    """Return the position and the name of each project that the index knows, if there is one."""
    if not config.index_url and not layout.index.is_file():
        return {}, {}
    try:
        engine = (
            open_index_url(config.index_url) if config.index_url else open_index_file(layout.index)
        )
    except BridgeError:
        return {}, {}
    try:
        index = Index(engine)
        states = [index.project(one) for one in index.projects()]
    except Exception:  # noqa: BLE001 - a damaged index says nothing about the logs
        return {}, {}
    finally:
        engine.close()
    known = [one for one in states if one is not None]
    return {one.id: one.seq for one in known}, {one.name: one.id for one in known}


def _named(which: str, on_disk: set[ProjectId], names: dict[str, ProjectId]) -> ProjectId:
    try:
        project = parse_project(which)
    except BridgeError:
        project = names.get(which)  # type: ignore[assignment]  # None is in no set of projects
    if project not in on_disk:
        raise NotFound(
            "no-project", f"there is no project {which}", hint="tx-bridge verify checks all"
        )
    return project
