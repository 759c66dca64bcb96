"""What one request reads: collections and members that its user may see.

One `Reader` lives for one request and remembers the project states it read, so asking twice
costs nothing and all answers of the request agree on the roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.caldav import query, requests
from bridge.caldav.collection import Collection, Kind, Member, member_of
from bridge.caldav.segments import PERSONAL, REQUESTS
from bridge.model.ids import Address, ProjectId, domain_of
from bridge.model.roles import sees_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.caldav.segments import Segments
    from bridge.model.state import ProjectState
    from bridge.store.rows import TaskRow
    from bridge.worker.gateway import Gateway

CHANGES_MAX: Final = 1_000_000
REQUESTS_NAME: Final = "Requests"
PERSONAL_NAME: Final = "Tasks"


class Reader:
    """Reads for `user` (an address of this domain, logged in)."""

    def __init__(self, gateway: Gateway, segments: Segments, user: Address) -> None:
        """Read through `gateway`."""
        self.user = user
        self._gateway = gateway
        self._segments = segments
        self._states: dict[ProjectId, ProjectState | None] = {}
        self._lists: dict[str, Collection | None] = {}

    # -- collections ---------------------------------------------------------------------

    def root(self) -> Collection:
        """Return the root of the address space."""
        return Collection(kind=Kind.ROOT, user=self.user)

    def home(self) -> Collection:
        """Return the user's principal and home."""
        return Collection(kind=Kind.HOME, user=self.user, owner=self.user)

    def state(self, project: ProjectId) -> ProjectState | None:
        """Return a project's state, the same one for the whole request."""
        if project not in self._states:
            self._states[project] = self._gateway.index.project(project)
        return self._states[project]

    def task_list(self, segment: str) -> Collection | None:
        """Return the list of that name, None where the user sees none."""
        if segment not in self._lists:
            self._lists[segment] = self._find(segment)
        return self._lists[segment]

    def _find(self, segment: str) -> Collection | None:
        if segment == REQUESTS:
            return self.requests()
        found = self._first_visible(segment)
        if found is None and self._segments.forget(self.user, segment):
            # Another process may have given the name to a new list meanwhile.
            found = self._first_visible(segment)
        return found

    def _first_visible(self, segment: str) -> Collection | None:
        for project in self._segments.candidates(self.user, segment):
            found = self._visible(project, segment)
            if found is not None:
                self._segments.remember(self.user, segment, project)
                return found
        return None

    def _visible(self, project: ProjectId, segment: str) -> Collection | None:
        state = self.state(project)
        role = state.role_of(self.user) if state else None
        if state is None or role is None or "archived" in state.policy:
            return None
        creator = state.creator
        local = creator is not None and domain_of(creator) == self._gateway.domain
        named = state.policy.get("name") or (PERSONAL_NAME if segment == PERSONAL else project)
        return Collection(
            kind=Kind.PROJECT,
            user=self.user,
            segment=segment,
            project=project,
            role=role,
            seq=state.seq,
            stamp=state.hash.removeprefix("sha256:"),
            limited=not sees_all(self.user, state),
            name=named,
            color=state.policy.get("color", ""),
            owner=Address(creator) if creator and local else None,
            modified=state.ts,
        )

    def requests(self) -> Collection:
        """Return the Requests collection."""
        head = self._gateway.directory.requests.head(self.user)
        return Collection(
            kind=Kind.REQUESTS,
            user=self.user,
            segment=REQUESTS,
            seq=head,
            name=REQUESTS_NAME,
            owner=self.user,
        )

    def lists(self) -> Iterator[Collection]:
        """Yield the lists of the home: the personal project first, the requests last."""
        cards = [card for card in self._gateway.index.homes(self.user) if not card.archived]
        cards.sort(key=lambda card: card.project != ProjectId(self.user))
        for card in cards:
            segment = self._segments.segment_of(self.user, card.project)
            found = self._visible(card.project, segment)
            if found is not None:
                yield found
        yield self.requests()

    # -- members -------------------------------------------------------------------------

    def row(self, collection: Collection, href: str) -> TaskRow | None:
        """Return a task of a project."""
        if collection.project is None:
            return None
        return self._gateway.index.row(collection.project, href, collection.viewer)

    def member(self, collection: Collection, href: str) -> Member | None:
        """Return a member with its text."""
        if collection.kind is Kind.REQUESTS:
            found = requests.find(self._gateway.directory, self.user, href)
            return requests.member(found) if found else None
        row = self.row(collection, href)
        return member_of(row) if row else None

    def members(self, collection: Collection, hrefs: Sequence[str]) -> dict[str, Member]:
        """Return those of the named members that exist, with their texts."""
        if collection.project is None:
            waiting = {m.href: m for m in self._waiting()}
            return {name: waiting[name] for name in hrefs if name in waiting}
        rows = self._gateway.index.rows(collection.project, hrefs, collection.viewer)
        return {name: member_of(row) for name, row in rows.items()}

    def listing(self, collection: Collection) -> Iterable[Member]:
        """Yield all members; those of a project come without their texts."""
        if collection.project is None:
            return self._waiting()
        return self._gateway.index.listing(collection.project, collection.viewer)

    def matching(
        self, collection: Collection, wanted: query.CompFilter, *, texts: bool
    ) -> Iterator[Member]:
        """Yield the members that pass a filter, with their texts if asked for."""
        plan, holds = query.plan(wanted), query.tester(wanted)
        if plan is None:
            return
        if collection.project is None:
            yield from (member for member in self._waiting() if holds(member.text or ""))
            return
        for row in self._gateway.index.matching(
            collection.project, plan.window, collection.viewer, texts=texts or not plan.exact
        ):
            if (plan.exact and row.sure) or holds(row.text or ""):
                yield row

    def _waiting(self) -> list[Member]:
        return [requests.member(r) for r in self._gateway.directory.requests.waiting(self.user)]

    # -- changes -------------------------------------------------------------------------

    def stamp_at(self, collection: Collection, seq: int) -> str:
        """Return the stamp of a position of a list."""
        if collection.project is None:
            return ""
        if seq == collection.seq:
            return collection.stamp
        digest = self._gateway.index.hash_at(collection.project, seq)
        return digest.removeprefix("sha256:") if digest else ""

    def since(self, collection: Collection, token: str) -> int | None:
        """Return the position of a token, None where this list never gave it out."""
        place = collection.position(token)
        if place is None or place[0] > collection.seq:
            return None
        seq, stamp = place
        return seq if self.stamp_at(collection, seq)[:8] == stamp else None

    def changes(
        self, collection: Collection, after: int, limit: int | None
    ) -> tuple[list[Member], str, bool]:
        """Return members changed after a position, the next token, and whether more follow.

        A member that went has an empty etag; each comes once.
        """
        most = CHANGES_MAX if limit is None else limit
        if collection.project is None:
            found = self._gateway.directory.requests.changes(self.user, after, most)
            members = requests.changed(found.requests)
            return members, collection.token_at(found.head, ""), found.more
        changed = self._gateway.index.changes(collection.project, after, most, collection.viewer)
        token = collection.token_at(changed.seq, self.stamp_at(collection, changed.seq))
        return list(changed.members), token, changed.more
