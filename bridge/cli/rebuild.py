"""``tx-bridge rebuild``: make the index afresh from the logs, which are the truth."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from bridge import app
from bridge.cli.session import alone, settings
from bridge.cli.shape import Command, json_option
from bridge.cli.speech import document, fail, note, progress, short
from bridge.errors import BridgeError, Corrupt
from bridge.store.blobs import FileBlobs
from bridge.store.durable import Reserve
from bridge.store.index import Index
from bridge.store.index_engine import open_index_file, open_index_url
from bridge.store.logfile import FileLog
from bridge.worker.replay import catch_up

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model.ids import ProjectId
    from bridge.store.index_engine import IndexEngine
    from bridge.store.spool import Layout


@click.command(cls=Command)
@json_option
def rebuild(as_json: bool) -> None:
    """Delete the index and make it again from the logs.

    For an index that is damaged or of another version; nothing is lost by it. The gateway
    must be stopped. A damaged project is left out and named; all others are rebuilt.
    """
    config = settings()
    layout = app.layout_of(config)
    counts, failures = _rebuilt(config, layout)
    if as_json:
        document(
            {
                "projects": [
                    {"project": one, "entries": count} for one, count in sorted(counts.items())
                ],
                "failed": [
                    {"project": one, "code": error.code, "reason": error.public}
                    for one, error in sorted(failures.items())
                ],
            }
        )
    else:
        note(f"{sum(counts.values())} entries of {len(counts)} projects")
    if failures:
        for error in failures.values():
            fail(error.public, error.hint)
        raise Corrupt(
            "damage",
            f"not rebuilt: {', '.join(sorted(failures))}",
            hint="tx-bridge verify names the damage",
        )


def _rebuilt(
    config: Config, layout: Layout
) -> tuple[dict[ProjectId, int], dict[ProjectId, BridgeError]]:
    counts: dict[ProjectId, int] = {}
    failures: dict[ProjectId, BridgeError] = {}
    with ExitStack() as stack:
        lock = stack.enter_context(alone(config))
        engine = _empty(config, layout)
        stack.callback(engine.close)
        reserve = Reserve(layout.home, reserve=config.reserve)
        log = FileLog(layout, lock, reserve)
        stack.callback(log.close)
        index, blobs = Index(engine), FileBlobs(layout, reserve, limit=config.max_attachment)
        for project in list(index.projects()):
            index.forget(project)
        for project in sorted(log.projects()):
            total = log.count(project)
            with progress(f"reading {short(project, 30)}", total) as reached:
                try:
                    counts[project] = catch_up(
                        project,
                        log=log,
                        index=index,
                        blobs=blobs,
                        progress=lambda _, count, reached=reached: reached(count),  # type: ignore[misc]  # a default binds it
                    )
                except BridgeError as error:
                    failures[project] = error
    return counts, failures


def _empty(config: Config, layout: Layout) -> IndexEngine:
    """Return an index without rows; a file is made anew, whatever was in it."""
    if config.index_url:
        engine = open_index_url(config.index_url)
    else:
        for ending in ("", "-wal", "-shm"):
            layout.index.with_name(layout.index.name + ending).unlink(missing_ok=True)
        engine = open_index_file(layout.index)
    engine.prepare_layout()
    return engine
