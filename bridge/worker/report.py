"""What the event log is told of a command (tx-protocol section 17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.model.patch import Set
from bridge.model.state import ASSIGNEE
from bridge.worker.command import Conflict, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.worker.command import Command, Outcome
    from bridge.worker.stage import Made

_STATES = frozenset({"completed", "blocked", "cancelled", "deleted"})


def events(
    command: Command, outcome: Outcome | BridgeError | None, made: Sequence[Made]
) -> list[dict[str, object]]:
    """Return the events of one command: why it was refused, or what each entry did."""
    actor = getattr(command, "actor", None)
    who: dict[str, object] = {
        "command": type(command).__name__,
        "actor": actor.user if actor else "",
        "door": actor.via.value if actor else "",
    }
    concerned = {
        name: str(value)
        for name in ("project", "task", "href", "request")
        if (value := getattr(command, name, None))
    }
    match outcome:
        case Refused(code=code, reason=reason):
            return [{"event": "refused", "code": code, "reason": reason, **who, **concerned}]
        case Conflict(reason=reason):
            return [{"event": "refused", "code": "conflict", "reason": reason, **who, **concerned}]
        case BridgeError():
            return [
                {
                    "event": "refused",
                    "code": outcome.code,
                    "reason": str(outcome),
                    **who,
                    **concerned,
                }
            ]
        case _:
            return [
                {
                    "event": kind,
                    "project": item.entry.project,
                    "seq": item.entry.seq,
                    **who,
                    **_of(item),
                }
                for item in made
                for kind in _kinds(item)
            ] + [_lost(item) for item in made if _older(item)]


def _older(made: Made) -> list[str]:
    return [f"{skip.op}: {skip.why}" for skip in made.entry.skipped if skip.why == "older"]


def _lost(made: Made) -> dict[str, object]:
    """Return the event of ops that lost against a concurrent write; the entry has them all."""
    entry = made.entry
    return {
        "event": "lost-edit",
        "project": entry.project,
        "seq": entry.seq,
        "actor": entry.patch.author,
        **_of(made),
        "skipped": _older(made),
    }


def _of(made: Made) -> dict[str, object]:
    if made.task is None:
        return {}
    mandate = made.task.value("mandate")
    return {"task": made.task.id, **({"mandate": mandate} if mandate else {})}


def _kinds(made: Made) -> list[str]:
    if made.task is None:
        return ["project-changed"]
    if made.task.created_seq == made.entry.seq:
        return ["issued"]
    kinds = []
    for op in made.entry.patch.ops:
        if not isinstance(op, Set) or op.value is None:
            continue
        if (
            op.key == "status"
            and op.value in _STATES
            or op.key.startswith(ASSIGNEE)
            and op.value in ("accepted", "declined")
        ):
            kinds.append(op.value)
    return kinds
