"""Live properties of collections and tasks, and who may change them.

Each function returns the inner XML of its property, or None where the resource has none
(404 in its propstat). Dead properties and what a user's own client overrides (name, colour,
order) come from the directory, as the XML that was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import fromstring

from bridge.caldav import calendardata, sharees
from bridge.caldav.collection import Collection, Kind, Member, privileges
from bridge.caldav.multistatus import (
    apple,
    caldav,
    dav,
    element,
    escape,
    href,
    parts,
    quoted,
    response,
    server,
)
from bridge.caldav.requestxml import Asked, Scope
from bridge.caldav.segments import is_hidden
from bridge.model.patch import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.model.ids import Address, ProjectId
    from bridge.model.state import ProjectState

MEMBER_TYPE: Final = "text/calendar; charset=utf-8; component=VTODO"
NAME: Final = dav("displayname")
COLOR: Final = apple("calendar-color")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What properties depend on beside their resource.

    Attributes:
        prefix: path of the mount, without a slash at its end.
        user_name: reads what people call the user, or "".
        dead: reads the user's stored properties of a collection.
        home_token: makes the sync token of the home, None where it has none.
        state: reads a project; name_of: what people call somebody of this domain, or "".
    """

    prefix: str
    user: Address
    user_name: Callable[[], str]
    max_octets: int
    max_attachment: int
    max_attachments: int
    dead: Callable[[Collection], dict[str, str]]
    home_token: Callable[[], str | None]
    state: Callable[[ProjectId], ProjectState | None]
    name_of: Callable[[Address], str]

    def principal(self, user: Address) -> str:
        """Return the href of a user's principal, which is the home too."""
        return f"{self.prefix}/{quoted(user)}/"

    def path(self, collection: Collection) -> str:
        """Return the href of a collection."""
        return self.prefix + collection.path


_Live = "Callable[[Collection, Frame], str | None]"


def _types(collection: Collection, _frame: Frame) -> str:
    inner = element(dav("collection"))
    if collection.kind is Kind.HOME:
        inner += element(dav("principal"))
    if collection.is_list:
        inner += element(caldav("calendar"))
    return inner


def _privilege_set(collection: Collection, _frame: Frame) -> str:
    return "".join(element(dav("privilege"), element(dav(p))) for p in privileges(collection))


_HOME_REPORTS = (
    dav("sync-collection"),
    dav("expand-property"),
    dav("principal-property-search"),
    dav("principal-search-property-set"),
)
_LIST_REPORTS = (
    caldav("calendar-multiget"),
    caldav("calendar-query"),
    dav("sync-collection"),
    dav("expand-property"),
)


def _reports(collection: Collection, _frame: Frame) -> str:
    names: tuple[str, ...] = _LIST_REPORTS
    if not collection.is_list:
        names = _HOME_REPORTS if collection.kind is Kind.HOME else _HOME_REPORTS[1:]
    return "".join(
        element(dav("supported-report"), element(dav("report"), element(name))) for name in names
    )


def _principal(_collection: Collection, frame: Frame) -> str:
    return href(frame.principal(frame.user))


def _owner(collection: Collection, frame: Frame) -> str:
    # Empty where the owner is no principal here (RFC 3744 section 5.1).
    return href(frame.principal(collection.owner)) if collection.owner else ""


def _of_home(
    inner: Callable[[Collection, Frame], str],
) -> Callable[[Collection, Frame], str | None]:
    return lambda collection, frame: (
        inner(collection, frame) if collection.kind is Kind.HOME else None
    )


def _of_list(
    inner: Callable[[Collection, Frame], str],
) -> Callable[[Collection, Frame], str | None]:
    return lambda collection, frame: inner(collection, frame) if collection.is_list else None


def _addresses(_collection: Collection, frame: Frame) -> str:
    return href(f"mailto:{frame.user}") + href(frame.principal(frame.user))


def _name(collection: Collection, frame: Frame) -> str | None:
    if collection.kind is Kind.HOME:
        return escape(frame.user_name() or frame.user)
    return escape(collection.name) if collection.is_list else None


def _token(collection: Collection, frame: Frame) -> str | None:
    if collection.kind is Kind.HOME:
        return frame.home_token()
    return collection.sync_token if collection.is_list else None


def _state(collection: Collection, frame: Frame) -> ProjectState | None:
    return frame.state(collection.project) if collection.project is not None else None


def _share_access(collection: Collection, frame: Frame) -> str | None:
    state = _state(collection, frame)
    return sharees.share_access(state, frame.user) if state else None


def _invite(collection: Collection, frame: Frame) -> str | None:
    state = _state(collection, frame)
    return sharees.invite(state, frame.user, frame.name_of) if state else None


def _add_member(collection: Collection, frame: Frame) -> str | None:
    """RFC 5995 section 3.2.1: a POST to the list itself, where its user may add."""
    able = collection.project is not None and "bind" in privileges(collection)
    return href(frame.path(collection)) if able else None


def _color(collection: Collection, _frame: Frame) -> str | None:
    return escape(collection.color) if collection.color else None


def _components(_collection: Collection, _frame: Frame) -> str:
    return '<C:comp name="VTODO"/>'


def _component_sets(_collection: Collection, _frame: Frame) -> str:
    return element(caldav("supported-calendar-component-set"), '<C:comp name="VTODO"/>')


def _modified(collection: Collection, _frame: Frame) -> str | None:
    return http_date(collection.modified) if collection.modified else None


_COLLATIONS = "".join(
    element(caldav("supported-collation"), name) for name in ("i;ascii-casemap", "i;octet")
)
_DATA = '<C:calendar-data content-type="text/calendar" version="2.0"/>'

LIVE: Final[Mapping[str, Callable[[Collection, Frame], str | None]]] = {
    dav("resourcetype"): _types,
    dav("displayname"): _name,
    dav("current-user-principal"): _principal,
    dav("current-user-privilege-set"): _privilege_set,
    dav("supported-report-set"): _reports,
    dav("owner"): _owner,
    dav("principal-collection-set"): lambda _, frame: href(f"{frame.prefix}/"),
    dav("principal-URL"): _of_home(_principal),
    dav("sync-token"): _token,
    dav("add-member"): _add_member,
    dav("share-access"): _share_access,
    dav("invite"): _invite,
    dav("getetag"): _of_list(lambda collection, _: f'"{escape(collection.sync_token)}"'),
    dav("getlastmodified"): _modified,
    dav("getcontenttype"): _of_list(lambda _, __: "text/calendar; component=vtodo"),
    server("getctag"): _of_list(lambda collection, _: collection.sync_token),
    server("email-address-set"): _of_home(
        lambda _, frame: f"<CS:email-address>{escape(frame.user)}</CS:email-address>"
    ),
    caldav("calendar-home-set"): _of_home(_principal),
    caldav("calendar-user-address-set"): _of_home(_addresses),
    caldav("supported-calendar-component-set"): _of_list(_components),
    caldav("supported-calendar-component-sets"): _of_home(_component_sets),
    caldav("supported-calendar-data"): _of_list(lambda _, __: _DATA),
    caldav("supported-collation-set"): _of_list(lambda _, __: _COLLATIONS),
    caldav("managed-attachments-server-URL"): _of_home(lambda _, __: ""),
    caldav("max-attachment-size"): _of_list(lambda _, frame: str(frame.max_attachment)),
    caldav("max-attachments-per-resource"): _of_list(lambda _, frame: str(frame.max_attachments)),
    caldav("max-resource-size"): _of_list(lambda _, frame: str(frame.max_octets)),
    apple("calendar-color"): _color,
}

PROTECTED: Final = frozenset(LIVE) - {NAME, COLOR} | {
    dav("creationdate"),
    dav("getcontentlength"),
    dav("lockdiscovery"),
    dav("supportedlock"),
    dav("acl"),
    dav("group-membership"),
}
"""What no client may set or remove."""
# RFC 4918 section 9.1 and RFC 4791 section 5.2: allprop leaves the costly and new ones out.
_IN_ALL: Final = (
    dav("resourcetype"),
    dav("displayname"),
    dav("getetag"),
    dav("getlastmodified"),
    dav("getcontenttype"),
)


def may_set_policy(collection: Collection) -> bool:
    """Tell whether name and colour of a list are the user's to change for everybody."""
    return collection.role in {Role.CREATOR, Role.OWNER}


def _dead_value(collection: Collection, tag: str, dead: Mapping[str, str]) -> str | None:
    """Return the stored XML of a property where it counts.

    Name and colour of those who may change them for everybody live in the project; what is
    stored beside is the same colour with the attributes that Apple's clients want back.
    """
    xml = dead.get(tag)
    if xml is None or tag not in {NAME, COLOR} or not may_set_policy(collection):
        return xml
    current = collection.color if tag == COLOR else collection.name
    # Stored by `requestxml.text_of`, so it is known to parse and to hold no entity.
    same = "".join(fromstring(xml).itertext()) == current  # noqa: S314 - our own text
    return xml if same else None


def collection_response(
    collection: Collection, frame: Frame, asked: Asked, *, minimal: bool, path: str = ""
) -> str:
    """Return the DAV:response of a collection."""
    needs_dead = asked.scope is not Scope.PROP or any(_maybe_dead(tag) for tag in asked.tags)
    dead = frame.dead(collection) if needs_dead else {}
    dead = {tag: xml for tag, xml in dead.items() if not is_hidden(tag)}
    tags = asked.tags
    if asked.scope is Scope.ALL:
        tags = tuple(dict.fromkeys((*_IN_ALL, *dead, *asked.tags)))
    elif asked.scope is Scope.NAMES:
        tags = tuple(dict.fromkeys((*LIVE, *dead)))
    found: list[str] = []
    missing: list[str] = []
    for tag in tags:
        value = _value(collection, frame, tag, dead)
        if value is None:
            missing.append(tag)
        else:
            found.append(element(tag) if asked.scope is Scope.NAMES else value)
    if asked.scope is not Scope.PROP:
        missing = []
    return response(path or frame.path(collection), found, missing, minimal=minimal)


def _maybe_dead(tag: str) -> bool:
    return tag not in LIVE or tag in {NAME, COLOR}


def _value(collection: Collection, frame: Frame, tag: str, dead: Mapping[str, str]) -> str | None:
    if dead and (xml := _dead_value(collection, tag, dead)) is not None:
        return xml
    live = LIVE.get(tag)
    inner = live(collection, frame) if live else None
    return None if inner is None else element(tag, inner)


# -- members -----------------------------------------------------------------------------

_MEMBER: Final[Mapping[str, Callable[[Member], str | None]]] = {
    # An ETag is quoted hex of our own (`etag_of`).
    dav("getetag"): attrgetter("etag"),
    dav("getcontenttype"): lambda _: MEMBER_TYPE,
    dav("getcontentlength"): lambda m: str(m.size),
    dav("getlastmodified"): lambda m: http_date(m.modified),
    dav("resourcetype"): lambda _: "",
    caldav("calendar-data"): lambda m: None if m.text is None else escape(m.text),
}
CALENDAR_DATA: Final = caldav("calendar-data")
_MARK: Final = "<D:mark/>"


@dataclass(slots=True)
class MemberWriter:
    """Writes the DAV:response of many members of one list.

    What is the same for all is made once, so a listing costs its bytes.
    """

    collection: Collection
    frame: Frame
    asked: Asked
    minimal: bool
    _given: list[tuple[str, str, Callable[[Member], str | None]]] = field(default_factory=list)
    _same: str = ""
    _missing: list[str] = field(default_factory=list)
    _base: str = ""
    _takes: tuple[Callable[[Member], str | None], ...] = ()
    _form: str = ""

    def __post_init__(self) -> None:
        """Sort the asked properties into those of each member, those of all, and none."""
        self._base = self.frame.path(self.collection)
        tags = self.asked.tags
        if self.asked.scope is not Scope.PROP:
            tags = tuple(tag for tag in _MEMBER if tag != CALENDAR_DATA)
        same = {
            dav("current-user-principal"): _principal(self.collection, self.frame),
            dav("current-user-privilege-set"): _privilege_set(self.collection, self.frame),
            dav("owner"): _owner(self.collection, self.frame),
        }
        for tag in tags:
            if tag in _MEMBER:
                start, end = parts(tag)
                self._given.append((f"{start}>", end, self._taking(tag)))
            elif tag in same:
                self._same += element(tag, same[tag])
            else:
                self._missing.append(tag)
        # What is around the members' own values is the same text for each of them.
        whole = response("", [_MARK], self._missing, minimal=self.minimal)
        tail = (self._same + whole.partition(_MARK)[2]).replace("%", "%%")
        inner = "".join(f"{start}%s{end}" for start, end, _ in self._given)
        self._form = (
            f"<D:response><D:href>%s</D:href><D:propstat><D:prop>{inner}{tail}"
            if self._given or self._same or not self._missing
            else ""
        )
        self._takes = tuple(take for _, _, take in self._given)

    def _taking(self, tag: str) -> Callable[[Member], str | None]:
        wanted = self.asked.data
        if tag != CALENDAR_DATA or wanted is None:
            return _MEMBER[tag]
        return lambda m: None if m.text is None else escape(calendardata.render(wanted, m.text))

    @property
    def wants_text(self) -> bool:
        """True where the texts are asked for."""
        return CALENDAR_DATA in self.asked.tags

    @property
    def serves_whole(self) -> bool:
        """True where its reader knows the tasks afterwards, not only parts of them."""
        return self.wants_text and self.asked.data is None

    def path(self, name: str) -> str:
        """Return the href of a member."""
        return self._base + quoted(name)

    def write(self, member: Member, path: str = "") -> str:
        """Return the DAV:response of a member, under the href that the client used."""
        where = escape(path) if path else self._base + quoted(member.href)
        values = [take(member) for take in self._takes]
        if not self._form or None in values:
            return self._rare(member, path)
        return self._form % (where, *values)

    def _rare(self, member: Member, path: str) -> str:
        """Write a member that lacks something others have, or has nothing that is asked."""
        found = [
            f"{start}{value}{end}"
            for start, end, take in self._given
            if (value := take(member)) is not None
        ]
        if self._same:
            found.append(self._same)
        missing = list(self._missing)
        if self.wants_text and member.text is None:
            missing.append(CALENDAR_DATA)
        return response(path or self.path(member.href), found, missing, minimal=self.minimal)


def http_date(moment: str) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SS.sssZ`` as an HTTP date (RFC 9110 section 5.6.7)."""
    day, _, time = (moment or "1970-01-01T00:00:00.000Z").partition("T")
    return f"{_http_day(day)} {time[:8]} GMT"


@lru_cache(maxsize=1024)
def _http_day(day: str) -> str:
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return format_datetime(when, usegmt=True).rpartition(" 00:")[0]
