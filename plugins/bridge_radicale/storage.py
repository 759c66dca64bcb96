"""Radicale's storage interface over the index: reads by key, writes through the worker.

Radicale's own request code asks this where `bridge.caldav` does not answer by itself: the
check of the principal before each request, and reports that are unusual. Nothing here locks
out others: readers see whole entries only, and the worker orders the writes and checks their
preconditions, so `acquire_lock` is no more than the span in which one request sees the same
roles. From `upload` Radicale makes 400 of ValueError, 403 and 507 where its text holds the
errno (measured, 3.9.0); `_raise` is that translation.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any, Final

from radicale.item import Item
from radicale.storage import BaseCollection, BaseStorage

from bridge.caldav import making, query
from bridge.caldav.call import DEPTH_OF_TASK, split_path
from bridge.caldav.collection import Collection, Kind, Member
from bridge.caldav.multistatus import caldav
from bridge.caldav.properties import http_date
from bridge.errors import BridgeError, Invalid
from bridge.model.ids import Address
from bridge.model.patch import Via
from bridge.wire import vtodo
from bridge.worker.command import (
    Actor,
    ArchiveProject,
    CreateProject,
    DeleteTask,
    MoveTask,
    PutTask,
    Receipt,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from radicale.config import Configuration

    from bridge.caldav.call import Door
    from bridge.caldav.reader import Reader
    from bridge.worker.command import Command
    from bridge_radicale.visit import Visits

_TAG: Final = "VCALENDAR"
_LIST_LEVEL: Final = 2
_UNBOUNDED: Final = (-(2**40), 2**40)


class _Items:
    """What items need of their surroundings."""

    def __init__(self, door: Door, reader: Reader) -> None:
        self.door = door
        self.reader = reader

    @property
    def actor(self) -> Actor:
        return Actor(user=self.reader.user, via=Via.CALDAV)

    def submit(self, command: Command) -> Receipt:
        try:
            outcome = self.door.submit(command)
        except BridgeError as error:
            number = errno.ENOSPC if error.code == "disk-full" else errno.EAGAIN
            raise ValueError(f"[Errno {number}] {error.public}") from error
        if isinstance(outcome, Receipt):
            return outcome
        if isinstance(outcome, Refused) and outcome.need is not None:
            raise ValueError(f"[Errno {errno.EACCES}] {outcome.reason}")
        raise ValueError(outcome.reason)


class BridgeCollection(BaseCollection):
    """A collection of one user's address space."""

    def __init__(self, place: Collection, items: _Items) -> None:
        """Show `place`."""
        self.place = place
        self._items = items

    @property
    def path(self) -> str:
        """The path without slashes at its ends."""
        parts = () if self.place.kind is Kind.ROOT else (self.place.user, self.place.segment)
        return "/".join(part for part in parts if part)

    @property
    def tag(self) -> str:
        """VCALENDAR for lists, nothing for root and home."""
        return _TAG if self.place.is_list else ""

    @property
    def etag(self) -> str:
        """The position of the log: one row, whatever the size."""
        return f'"{self.place.sync_token}"'

    @property
    def last_modified(self) -> str:
        """The time of the newest entry as an HTTP date."""
        return http_date(self.place.modified)

    def item(self, member: Member) -> Item:
        """Return a member as Radicale's item; vobject parses it only where asked to."""
        reader, place = self._items.reader, self.place
        text = member.text
        if text is None:
            full = reader.member(place, member.href)
            text = full.text if full and full.text is not None else ""
        return Item(
            collection=self,
            href=member.href,
            last_modified=http_date(member.modified),
            text=text,
            etag=member.etag,
            uid=_uid(text),
            name=_TAG,
            component_name="VTODO",
            time_range=_UNBOUNDED,
        )

    def get_multi(self, hrefs: Iterable[str]) -> Iterator[tuple[str, Item | None]]:
        """Yield each name with its item or None; one select."""
        names = list(dict.fromkeys(hrefs))
        members = self._items.reader.members(self.place, names)
        for name in names:
            member = members.get(name)
            yield name, self.item(member) if member else None

    def get_all(self) -> Iterator[Item]:
        """Yield all members with their texts."""
        yield from self._matching(query.CompFilter(name=_TAG))

    def _matching(self, wanted: query.CompFilter) -> Iterator[Item]:
        if self.place.is_list:
            yield from map(self.item, self._items.reader.matching(self.place, wanted, texts=True))

    def get_filtered(self, filters: Iterable[Element]) -> Iterator[tuple[Item, bool]]:
        """Yield what matches, always decided here, so that vobject never parses it."""
        try:
            wanted = query.parse([f for f in filters if f.tag == caldav("filter")])
        except Invalid as error:
            raise ValueError(error.public) from error
        for item in self._matching(wanted):
            yield item, True

    def has_uid(self, uid: str) -> bool:
        """Tell whether a task has this UID: one look into an index."""
        project = self.place.project
        return (
            project is not None and self._items.door.gateway.index.named(project, uid) is not None
        )

    def sync(self, old_token: str = "") -> tuple[str, Iterable[str]]:
        """Return the present token and the names changed since `old_token`."""
        reader = self._items.reader
        if not old_token:
            return self.place.sync_token, (m.href for m in reader.listing(self.place))
        after = reader.since(self.place, old_token)
        if after is None:
            raise ValueError("this list never gave out that token")
        members, token, _ = reader.changes(self.place, after, None)
        return token, [member.href for member in members]

    def upload(self, href: str, item: Item) -> tuple[Item, Item | None]:
        """Store a task under a name."""
        project = self.place.project
        if project is None:
            raise ValueError(f"[Errno {errno.EACCES}] no task can be put here")
        old = self._items.reader.member(self.place, href)
        actor = self._items.actor
        self._items.submit(PutTask(actor=actor, project=project, href=href, text=item.serialize()))
        new = self._items.reader.member(self.place, href)
        if new is None:
            raise ValueError("the task was deleted meanwhile")
        return self.item(new), self.item(old) if old else None

    def delete(self, href: str | None = None) -> None:
        """Delete a task, or archive the project."""
        project = self.place.project
        if project is None:
            raise ValueError(f"[Errno {errno.EACCES}] nothing is deleted here")
        if href is None:
            self._items.submit(ArchiveProject(actor=self._items.actor, project=project))
            return
        row = self._items.reader.row(self.place, href)
        if row is None:
            raise ValueError("there is no such task")
        self._items.submit(DeleteTask(actor=self._items.actor, task=row.task))

    def get_meta(self, key: str | None = None) -> Any:
        """Return a property by Radicale's short name, or all of them."""
        meta: dict[str, str] = {}
        if self.place.is_list:
            meta = {
                "tag": _TAG,
                "D:displayname": self.place.name,
                "C:supported-calendar-component-set": "VTODO",
            }
            if self.place.color:
                meta["ICAL:calendar-color"] = self.place.color
        return meta if key is None else meta.get(key)

    def set_meta(self, props: Mapping[str, str]) -> None:
        """Refuse: PROPPATCH is answered by `bridge.caldav.making` and never comes here."""
        raise ValueError(f"[Errno {errno.EACCES}] {len(props)} properties cannot be set this way")


def _uid(text: str) -> str:
    try:
        return vtodo.read(text).uid
    except Invalid:
        return ""


class Storage(BaseStorage):
    """Radicale's storage interface."""

    # A task's name and a user's address are any text: there are no files.
    _is_collision_free = True
    _supports_unicode = True
    _supports_trailing_whitespace = True
    _supports_problematic_chars = True

    def __init__(self, configuration: Configuration, door: Door, visits: Visits) -> None:
        """Read and write through `door`."""
        super().__init__(configuration)
        self._door = door
        self._visits = visits

    def discover(
        self,
        path: str,
        depth: str = "0",
        child_context_manager: Callable[..., Any] | None = None,  # noqa: ARG002 - Radicale's interface
        user_groups: set[str] | None = None,  # noqa: ARG002 - as above
    ) -> Iterator[BaseCollection | Item]:
        """Yield what `path` names, then its members unless `depth` is 0.

        The first element costs at most one row: every request asks for it.
        """
        try:
            parts = split_path(path)
        except Invalid:
            return
        user = Address(parts[0].lower()) if parts else Address("")
        reader = self._visits.reader(user)
        items = _Items(self._door, reader)
        found = _collection(reader, parts)
        if found is None:
            return
        collection = BridgeCollection(found, items)
        if len(parts) == DEPTH_OF_TASK:
            member = reader.member(found, parts[2])
            if member is not None:
                yield collection.item(member)
            return
        yield collection
        if depth == "0":
            return
        if found.kind is Kind.HOME:
            for each in reader.lists():
                yield BridgeCollection(each, items)
        else:
            yield from collection.get_all()

    def move(self, item: Item, to_collection: BaseCollection, to_href: str) -> None:
        """Move a task."""
        source, target = item.collection, to_collection
        if not isinstance(source, BridgeCollection) or not isinstance(target, BridgeCollection):
            raise TypeError("collections of another storage")
        items = _Items(self._door, self._visits.reader(source.place.user))
        row = items.reader.row(source.place, item.href or "")
        if row is None or target.place.project is None:
            raise ValueError(f"[Errno {errno.EACCES}] this task cannot be moved there")
        items.submit(
            MoveTask(actor=items.actor, task=row.task, project=target.place.project, href=to_href)
        )

    def create_collection(
        self,
        href: str,
        items: Iterable[Item] | None = None,
        props: Mapping[str, str] | None = None,
    ) -> tuple[BaseCollection, dict[str, Item], list[str]]:
        """Make a project; whole calendars are not taken."""
        parts = split_path(href)
        if items is not None or len(parts) != _LIST_LEVEL:
            raise ValueError(f"[Errno {errno.EACCES}] a list lies directly in a home")
        user = Address(parts[0].lower())
        around = _Items(self._door, self._visits.reader(user))
        gateway = self._door.gateway
        project = making.new_project(gateway.new_id(), gateway.domain)
        self._door.segments.choose(user, parts[1], project)
        name = (props or {}).get("D:displayname") or parts[1]
        around.submit(CreateProject(actor=around.actor, project=project, policy={"name": name}))
        self._visits.now.reader = None
        found = self._visits.reader(user).task_list(parts[1])
        if found is None:
            raise ValueError("the list was archived meanwhile")
        return BridgeCollection(found, around), {}, []

    @contextlib.contextmanager
    def acquire_lock(self, mode: str, user: str = "", *args: Any, **kwargs: Any) -> Iterator[None]:  # noqa: ARG002 - Radicale's interface
        """Span one unit of work; after a write the roles are read anew."""
        yield
        if mode == "w":
            self._visits.now.reader = None

    def verify(self) -> bool:
        """Return True: ``tx-bridge verify`` checks the logs, there is nothing else."""
        return True


def _collection(reader: Reader, parts: tuple[str, ...]) -> Collection | None:
    if not parts:
        return reader.root()
    if len(parts) == 1:
        return reader.home()
    return reader.task_list(parts[1]) if len(parts) <= DEPTH_OF_TASK else None
