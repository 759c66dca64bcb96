"""``tx-bridge log --refused``: edits that a rule refused, with the text that was sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bridge.caldav.refusededits import EVENT
from bridge.cli.names import find_project
from bridge.cli.session import session
from bridge.cli.speech import document, note, say, short
from bridge.errors import BridgeError
from bridge.model.ids import ProjectId, parse_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import Address
    from bridge.worker.gateway import Gateway

DAYS: Final = 90
_LINES: Final = 200


def show(which: str | None, limit: int, author: Address | None, *, as_json: bool) -> None:
    """Show refused edits, newest first; `which` names a project, None is all.

    Raises:
        NotFound: there is no such project.
    """
    with session() as opened:
        gateway = opened.gateway
        project = find_project(gateway, which).id if which else None
        today = gateway.clock().date()
        found = [
            dict(event) | {"text": _text(gateway, event)}
            for event in gateway.events.read(
                today - timedelta(days=DAYS), today, kind=EVENT, project=project
            )
            if author is None or event.get("actor") == author
        ]
    found = found[::-1][:limit]
    if as_json:
        document(found)
        return
    for position, one in enumerate(found):
        if position:
            say()
        _say(one)
    if not found:
        note(f"no edit was refused in the last {DAYS} days")


def _text(gateway: Gateway, event: Mapping[str, object]) -> str:
    """Return what was sent, "" where it was not kept."""
    if "ref" not in event:
        return ""
    try:
        project, digest = ProjectId(str(event["project"])), parse_digest(str(event["ref"]))
        return gateway.blobs.read(project, digest).decode(errors="replace")
    except BridgeError:
        return ""


def _say(one: Mapping[str, object]) -> None:
    say(f"date     {one.get('at', '')}")
    say(f"author   {one.get('actor', '')} via {one.get('door', '')}")
    say(f"project  {one.get('project', '')}")
    say(f"name     {short(str(one.get('href', '')))}")
    say(f"refused  {one.get('code', '')}: {short(str(one.get('reason', '')))}")
    text = str(one["text"])
    if not text:
        say("text     not kept")
        return
    say(f"text     {one.get('ref', '')}")
    say()
    lines = text.splitlines()
    for line in lines[:_LINES]:
        say(f"    {line}")
    if len(lines) > _LINES:
        say(f"    … {len(lines) - _LINES} more lines")
