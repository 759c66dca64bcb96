"""``tx-bridge export`` and ``import``: a project as one file, checked on its way in."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bridge import app
from bridge.cli.container import TOTAL_MAX, Manifest, blob_files, pack, settle, unpack
from bridge.cli.names import find_project
from bridge.cli.session import alone, session, settings
from bridge.cli.shape import FILE, Command, json_option
from bridge.cli.speech import advise, document, note, progress, say
from bridge.cli.verify import checked
from bridge.errors import Corrupt, Invalid
from bridge.model.ids import domain_of
from bridge.model.log import Fold, read_entry
from bridge.model.state import ProjectState
from bridge.store.durable import TEMPORARY, sync_directory
from bridge.store.segments import parse_place

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.config import Config
    from bridge.model.ids import ProjectId

_PREFIX: Final = f"{TEMPORARY}import-"


@click.command(cls=Command)
@click.argument("which", metavar="PROJECT")
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
def export(which: str, file: Path, force: bool, as_json: bool) -> None:
    """Write a project to FILE (.tar.gz): log, attachments and the keys to check them.

    Consistent also while a gateway runs. Anyone can check the file with tx-bridge verify
    --archive; whoever holds it can read the project.
    """
    if file.exists() and not force:
        raise Invalid("exists", f"{file} exists already", hint="--force replaces it")
    with session() as opened:
        state = find_project(opened.gateway, which)
        layout = app.layout_of(opened.config)
        # Listed once: a gateway may store more meanwhile.
        blobs = blob_files(layout, state.id)
        manifest, ends = _surveyed(opened, state.id, len(blobs))
        fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=file.absolute().parent)
        temporary = Path(name)
        try:
            with os.fdopen(fd, "wb") as target:
                pack(target, manifest, layout.log(state.id), ends, blobs)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(file.absolute().parent)
    size = file.stat().st_size
    if as_json:
        document(
            {
                "project": state.id,
                "file": file,
                "entries": manifest.seq,
                "blobs": manifest.blobs,
                "head": manifest.hash,
                "bytes": size,
            }
        )
        return
    note(f"{state.name}: {manifest.seq} entries, {manifest.blobs} attachments, {size} bytes")
    say(str(file))


def _surveyed(opened: Session, project: ProjectId, blobs: int) -> tuple[Manifest, dict[int, int]]:
    """Follow the chain; return the manifest and how far each segment is taken.

    Raises:
        Corrupt: the chain is broken, so that the archive would not be taken back.
    """
    log = opened.gateway.log
    total = log.count(project)
    fold, ends = Fold(project=ProjectState(id=project)), dict[int, int]()
    with progress("reading", total) as reached:
        for seq, place, line in log.read(project):
            try:
                fold.add(read_entry(line))
            except (Corrupt, Invalid) as error:
                raise Corrupt(
                    error.code,
                    f"entry {seq} of {project} is damaged: {error.code}",
                    hint=f"tx-bridge verify {project} says more; the container itself can be copied",
                ) from None
            first, offset, length = parse_place(place)
            ends[first] = offset + length + 1
            reached(seq)
    manifest = Manifest(
        project=project,
        seq=fold.project.seq,
        hash=fold.project.hash,
        keys={str(kid): public for kid, public in fold.project.keys.items()},
        blobs=blobs,
        at=opened.gateway.clock().strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    )
    return manifest, ends


@click.command("import", cls=Command)
@click.argument("file", type=FILE)
@click.option(
    "--max-bytes", type=click.IntRange(min=1), default=TOTAL_MAX, show_default=True,
    help="Refuse an archive that unpacks to more.",
)  # fmt: skip
def import_(file: Path, max_bytes: int) -> None:
    """Take a project in from an exported FILE, after checking all of it.

    The project must not exist here, and its domain must be this one, with the same key.
    Stop the gateway first: it takes in new projects when it starts.
    """
    config = settings()
    layout = app.layout_of(config)
    with alone(config):
        for left in layout.home.glob(f"{_PREFIX}*"):
            shutil.rmtree(left)  # an import was interrupted
        room = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=layout.home))
        try:
            project = _taken_in(config, file, room, max_bytes)
        finally:
            shutil.rmtree(room, ignore_errors=True)
    with session() as opened:
        opened.moved.add(project)
        state = find_project(opened.gateway, project)
        people = {one.address for one in opened.gateway.directory.people.all()}
    note(f"{state.name}: {state.seq} entries")
    say(project)
    for user in sorted(state.members):
        if domain_of(user) == config.domain and user not in people:
            advise(f"{user} is no user here yet: tx-bridge user add {user}")


def _taken_in(config: Config, file: Path, room: Path, max_bytes: int) -> ProjectId:
    """Unpack, check and move an archive; return its project.

    Raises:
        Invalid: ``bad-archive``, ``not-here``, ``exists`` or ``too-large``.
        Corrupt: what the archive holds is not what was signed.
    """
    unpacked, manifest = unpack(file, room, max_bytes)
    project = manifest.project
    if domain_of(project) != config.domain:
        raise Invalid(
            "not-here", f"the archive is of {project}; this is the server of {config.domain}"
        )
    target = app.layout_of(config).container(project)
    if target.exists():
        raise Invalid("exists", f"the project {project} exists here already")
    report = checked(unpacked, project, own=app.load_key(config))
    manifest.compare(report)
    if report.damage:
        first = report.damage[0]
        raise Corrupt(first.code, f"the archive is damaged: {first.sentence}")
    settle(unpacked.container(project), target)
    return project
