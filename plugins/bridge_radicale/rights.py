"""Roles as Radicale's letters: R, W on what is no list; r, w on lists and their members.

The letters only decide whether a request may come near a collection; what it may do there is
decided by the worker, with a reason, when the command is planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from radicale.rights import BaseRights

from bridge.caldav.call import split_path
from bridge.errors import Invalid

if TYPE_CHECKING:
    from radicale.config import Configuration

    from bridge_radicale.visit import Visits

_OWN_LEVEL: Final = 1


class Rights(BaseRights):
    """Radicale's rights interface over the roles."""

    def __init__(self, configuration: Configuration, visits: Visits) -> None:
        """Ask the roles that this request reads."""
        super().__init__(configuration)
        self._visits = visits

    def authorization(self, user: str, user_groups: set[Any], path: str) -> str:  # noqa: ARG002 - Radicale's interface
        """Return the letters of `user` for a sanitized path."""
        if not user:
            return ""
        try:
            parts = split_path(path)
        except Invalid:
            return ""
        if not parts:
            return "R"
        if parts[0].lower() != user:
            return ""
        if len(parts) == _OWN_LEVEL:
            return "RW"
        found = self._visits.reader(user).task_list(parts[1])
        # A free name below the home may become a list.
        return "rw" if found is not None or len(parts) == _OWN_LEVEL + 1 else ""
