"""A task and a project as other programs read them: the second seed's JSON (section 17).

These documents are written after the commit and never read back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bridge.model.state import ANNOTATION, ASSIGNEE, ATTACHMENT, TAG

if TYPE_CHECKING:
    from bridge.model.state import ProjectState, TaskState

STATUSES: Final = frozenset(
    {"needs_action", "in_progress", "blocked", "completed", "cancelled", "deleted"}
)
PRIORITY_WEIGHTS: Final = {"high": 100, "normal": 200, "low": 300}
"""Queue weights of the second seed: the smaller is served first."""
_EXTERNAL: Final = "external_"
_PREFERRED: Final = "preferred_"


def status_of(word: str | None) -> str:
    """Return the status to show: an unknown word counts as ``needs_action`` (section 8)."""
    return word if word in STATUSES else "needs_action"


def came_by_request(task: TaskState) -> bool:
    """Tell whether the task is inbound: it came by request (tx-protocol section 20)."""
    return task.value("rfa") is not None


def task_document(task: TaskState) -> dict[str, Any]:
    """Return the canonical schema of the second seed for `task`."""
    keys = task.keys
    external = _suffixed(keys, _EXTERNAL)
    priority = keys.get("priority", "normal")
    return {
        "task_id": task.id,
        "title": keys.get("description", ""),
        "description": keys.get("notes", ""),
        "mandate_id": keys.get("mandate"),
        "rfa_id": keys.get("rfa"),
        "preferred_responsibilities": sorted(_suffixed(keys, _PREFERRED)),
        "status": status_of(keys.get("status")),
        "priority": priority,
        "priority_weight": PRIORITY_WEIGHTS.get(priority, PRIORITY_WEIGHTS["normal"]),
        "due_date": keys.get("due"),
        "tags": sorted(_suffixed(keys, TAG)),
        "assignees": _suffixed(keys, ASSIGNEE),
        "annotations": _suffixed(keys, ANNOTATION),
        "attachments": sorted(_suffixed(keys, ATTACHMENT)),
        "external_refs": {"google_task_id": None, "calendar_event_id": None, **external},
        "source": keys.get("source", "manual"),
        "requester": keys.get("requester"),
        "created_at": task.created_at,
        "created_by": task.created_by,
        "updated_at": task.modified_at,
        "seq": task.modified_seq,
    }


def project_document(project: ProjectState) -> dict[str, Any]:
    """Return what ``project.json`` shows."""
    return {
        "project_id": project.id,
        "name": project.name,
        "members": {user: member.role.value for user, member in project.members.items()},
        "policy": dict(project.policy),
        "head": {"seq": project.seq, "hash": project.hash},
        "updated_at": project.ts,
    }


def _suffixed(keys: dict[str, str], prefix: str) -> dict[str, str]:
    return {k.removeprefix(prefix): v for k, v in sorted(keys.items()) if k.startswith(prefix)}
