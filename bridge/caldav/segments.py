"""Names of lists in a user's address space: path segment <-> project.

A segment is, in this order:

1. ``personal`` and ``requests``: the user's own project and the Requests collection;
2. an alias: the name under which a client of this user made the list (MKCALENDAR lets the
   client choose, and DAVx5, Apple and Tasks.org go on using their choice);
3. the unique part of a project of this domain;
4. a whole project id (``%40`` inside), for projects of other domains, and for one of this
   domain whose unique part an alias took before the user became its member.

So a name never changes its meaning. Aliases never hold ``@`` and never replace 1. They live
in the directory's properties of the user, under the collection ``segment <name>``.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.ids import ProjectId, domain_of, parse_project

if TYPE_CHECKING:
    from bridge.model.ids import Address, Domain
    from bridge.store.directory_contract import Properties

PERSONAL: Final = "personal"
REQUESTS: Final = "requests"
NAME_MAX: Final = 512
"""Characters of one segment: clients make a task's name of its UID."""
_ALIAS_MAX: Final = 200
_WRONG: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_TARGET: Final = "{urn:tx-bridge:segment}project"
_CHOSEN: Final = "{urn:tx-bridge:segment}name"
_CACHE_MAX: Final = 20_000


def is_hidden(tag: str) -> bool:
    """Tell whether a stored property is the gateway's own and not a client's."""
    return tag in {_TARGET, _CHOSEN}


def is_segment(text: str) -> bool:
    """Tell whether `text` may be one segment of a path: no dot name, slash or control."""
    return 0 < len(text) <= NAME_MAX and text not in {".", ".."} and _WRONG.search(text) is None


class Segments:
    """Resolves segments for all users of a process; safe for threads."""

    def __init__(self, domain: Domain, properties: Properties) -> None:
        """Resolve for projects of `domain`; aliases are kept in `properties`."""
        self._domain = domain
        self._properties = properties
        # Held for dictionary work only. Aliases are never changed while their project is
        # shown, so what was found stays true; what was not found is asked again.
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[Address, str], ProjectId] = OrderedDict()

    def candidates(self, user: Address, segment: str) -> tuple[ProjectId, ...]:
        """Return the projects that `segment` may mean for `user`, the first visible one wins."""
        if segment == PERSONAL:
            return (ProjectId(user),)
        if not is_segment(segment) or segment == REQUESTS:
            return ()
        with self._lock:
            known = self._found.get((user, segment))
        if known is not None:
            return (known,)
        return self._look_up(user, segment)

    def _look_up(self, user: Address, segment: str) -> tuple[ProjectId, ...]:
        found: list[ProjectId] = []
        alias = self.alias(user, segment)
        if alias is not None:
            found.append(alias)
        try:
            found.append(parse_project(segment if "@" in segment else f"{segment}@{self._domain}"))
        except Invalid:
            return tuple(found)
        return tuple(found)

    def remember(self, user: Address, segment: str, project: ProjectId) -> None:
        """Note that `segment` led to a project that is visible."""
        if segment == PERSONAL:
            return
        with self._lock:
            self._found[(user, segment)] = project
            while len(self._found) > _CACHE_MAX:
                self._found.popitem(last=False)

    def forget(self, user: Address, segment: str) -> bool:
        """Note that what `segment` led to is visible no more; False if nothing was known."""
        with self._lock:
            return self._found.pop((user, segment), None) is not None

    def alias(self, user: Address, segment: str) -> ProjectId | None:
        """Return the project that a client of `user` made under this name."""
        if "@" in segment:
            return None
        target = self._properties.of(user, f"segment {segment}").get(_TARGET)
        return ProjectId(target) if target else None

    def choose(self, user: Address, segment: str, project: ProjectId) -> None:
        """Keep `segment` as the name of a new project.

        Raises:
            Invalid: ``bad-request`` for a name that cannot be an alias.
        """
        fits = is_segment(segment) and len(segment) <= _ALIAS_MAX and "@" not in segment
        if not fits or segment in {PERSONAL, REQUESTS}:
            raise Invalid("bad-request", "a list cannot have this name")
        self.forget(user, segment)
        self._properties.change(user, f"segment {segment}", {_TARGET: project})
        self._properties.change(user, project, {_CHOSEN: segment})

    def segment_of(
        self, user: Address, project: ProjectId, properties: dict[str, str] | None = None
    ) -> str:
        """Return the name of a visible project.

        `properties` are those of the user for this project, where the caller has them.
        """
        if project == ProjectId(user):
            return PERSONAL
        own = self._properties.of(user, project) if properties is None else properties
        chosen = own.get(_CHOSEN)
        if chosen and self.alias(user, chosen) == project:
            return chosen
        unique = project.rpartition("@")[0]
        if (
            domain_of(project) != self._domain
            or unique in {PERSONAL, REQUESTS}
            or self.alias(user, unique) is not None
        ):
            return project
        return unique
