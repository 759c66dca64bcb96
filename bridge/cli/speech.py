"""How the program speaks: lines, tables, progress, JSON (rules: `bridge.cli`).

Names and texts come from strangers' mails and from other clients: `plain` takes out what
could move the cursor, change colours or reverse the reading direction of a terminal.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_NAME: Final = "tx-bridge"
_CUT: Final = 72
_MANY: Final = 1000


def fail(sentence: str, hint: str = "") -> None:
    """Say what went wrong and what to do about it, on standard error."""
    text = plain(sentence.rstrip().rstrip("."))
    # Library messages begin with a capital; names such as MKCALENDAR keep theirs.
    if text[1:2].islower() or text[1:2] == " ":
        text = text[0].lower() + text[1:]
    click.echo(f"{_NAME}: error: {text}", err=True)
    if hint:
        advise(hint)


def advise(hint: str) -> None:
    """Say what a person can do, on standard error."""
    click.echo(f"{_NAME}: hint: {plain(hint)}", err=True)


def note(sentence: str) -> None:
    """Say what happened beside the result, on standard error."""
    click.echo(f"{_NAME}: {plain(sentence)}", err=True)


def say(line: str = "") -> None:
    """Write one line of the result."""
    click.echo("\n".join(plain(part) for part in line.split("\n")))


def document(content: Any) -> None:  # whatever JSON takes
    """Write the result as JSON; only ASCII, so that it can be shown anywhere."""
    click.echo(json.dumps(content, indent=2, default=_json))


def _json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


def plain(text: str) -> str:
    """Return `text` on one line and without characters that a terminal might obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\ufffd" for c in text)


def short(text: str, length: int = _CUT) -> str:
    """Return `text` on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def moment(at: datetime | None) -> str:
    """Return a time for people: UTC, minutes."""
    return at.strftime("%Y-%m-%d %H:%M") if at else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> None:
    """Write a table: with lines on a terminal, else one row a line with tabs.

    Args:
        columns: names.
        rows: cells; None is an empty one.
        empty: what to say on standard error where there is no row.
    """
    cells = [["" if one is None else plain(str(one)) for one in row] for row in rows]
    if not cells:
        if empty:
            note(empty)
        return
    if not sys.stdout.isatty():
        for row in [list(columns), *cells]:
            click.echo("\t".join(row))
        return
    shown = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in cells:
        shown.add_row(*(Text(one) for one in row))
    Console().print(shown)


def catching_up(project: str, count: int) -> None:
    """Say on a terminal that many entries are read into the index before the command."""
    if count >= _MANY and sys.stderr.isatty():
        note(f"reading {project} into the index: {count} entries")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block works; give it the count reached.

    Without a terminal nothing is shown.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda reached: bar.update(task, completed=reached)
