"""A patch: what a person meant, as signed ops on one task or on the project.

Format: tx-protocol section 4. A `Patch` keeps the document it was read from, unknown
members included, because its hash and signature cover all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import Invalid
from bridge.model import canonical
from bridge.model.ids import (
    Address,
    Digest,
    Domain,
    PatchId,
    ProjectId,
    ReplicaId,
    TaskId,
    address_or_domain,
    parse_address,
    parse_digest,
    parse_project,
    parse_task,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_PATCH: Final = 256 * 1024
MAX_OPS: Final = 1000
MAX_KEY: Final = 255
MAX_VALUE: Final = 64 * 1024
_MAX_NAME = 320

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_REPLICA = re.compile(r"[a-z0-9@._+-]+(?:/[a-z0-9._-]{1,64})?\Z")
_NONCE = re.compile(r"[A-Za-z0-9_-]{22}\Z")


class Role(StrEnum):
    """What a member may do in a project (tx-protocol section 2)."""

    CREATOR = "creator"
    OWNER = "owner"
    MEMBER = "member"
    GUEST = "guest"


class Via(StrEnum):
    """The door a patch came through."""

    CALDAV = "caldav"
    MAIL = "mail"
    HTTP = "http"
    TASKCHAMPION = "taskchampion"
    WORKER = "worker"


class Mode(StrEnum):
    """How a patch treats values that moved on."""

    MERGE = "merge"
    ATOMIC = "atomic"


class Missing(StrEnum):
    """Marks an op without ``was``, which is not the same as ``"was": null``."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Create:
    """Make the task that is the patch's subject."""


@dataclass(frozen=True, slots=True)
class Set:
    """Give `key` of the task a value, or take it away (None)."""

    key: str
    value: str | None
    was: str | None | Missing = MISSING


@dataclass(frozen=True, slots=True)
class Member:
    """Give `user` a role in the project, or none; `scope` limits what the user sees."""

    user: Address
    role: Role | None
    scope: str | tuple[str, ...] | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Set one policy of the project (``name`` and ``color`` among them)."""

    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Key:
    """Record a domain's public key, so that the log can be checked for ever."""

    kid: str
    public: str
    until: str | None = None


@dataclass(frozen=True, slots=True)
class DomainOp:
    """An op that only the domain itself may write: ``purge``, ``sync`` or ``resume``."""

    op: str
    members: Mapping[str, Any]


Op = Create | Set | Member | Policy | Key | DomainOp


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The newest entry that the author's replica had applied."""

    seq: int
    hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One patch; `document` is the JSON object with its signatures."""

    id: PatchId
    project: ProjectId
    subject: TaskId | ProjectId
    replica: ReplicaId
    n: int
    base: Base
    author: Address | Domain
    at: str
    via: Via
    ops: tuple[Op, ...]
    mode: Mode
    document: dict[str, Any] = field(repr=False)

    @property
    def on_project(self) -> bool:
        """True where the subject is the project itself."""
        return self.subject == self.project

    @property
    def text(self) -> str | None:
        """The iCalendar text that a client sent with this patch, or its blob's digest."""
        return self.document.get("text")

    @property
    def reverts(self) -> PatchId | None:
        """The patch that this one takes back."""
        value = self.document.get("reverts")
        return PatchId(value) if isinstance(value, str) else None


def read_patch(document: dict[str, Any], digest: Digest | None = None) -> Patch:
    """Return the patch in `document`, checked for form but not for signature or right.

    `digest` is its hash where the caller has just computed it.

    Raises:
        Invalid: ``bad-json``, ``bad-op:<i>``, ``bad-subject``, ``too-large`` or ``too-many``.
    """
    try:
        return _read(document, digest or canonical.hash_of(document))
    except (KeyError, TypeError, AttributeError) as error:
        raise Invalid("bad-json", f"the patch lacks or misspells a member: {error}") from None
    except ValueError as error:
        raise Invalid("bad-json", f"the patch has a member it cannot have: {error}") from None


def _read(document: dict[str, Any], digest: Digest) -> Patch:
    if document["tx"] != 1 or document["type"] != "patch":
        raise Invalid("bad-json", "not a TX version 1 patch")
    project = parse_project(document["project"])
    subject = document["subject"]
    if subject != project:
        try:
            subject = parse_task(subject)
        except Invalid:
            raise Invalid("bad-subject", "the subject is no task and not the project") from None
    base = document["base"]
    return Patch(
        id=PatchId(digest),
        project=project,
        subject=subject,
        replica=ReplicaId(_matching(_REPLICA, document["replica"], "replica")),
        n=_count(document["n"], 1),
        base=Base(seq=_count(base["seq"], 0), hash=parse_digest(base["hash"])),
        author=address_or_domain(document["author"]),
        at=read_time(document["at"]),
        via=Via(document["via"]),
        ops=read_ops(document["ops"]),
        mode=Mode(document.get("mode", "merge")),
        document=_checked(document),
    )


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    _matching(_NONCE, document["nonce"], "nonce")
    text = document.get("text")
    if text is not None and not isinstance(text, str):
        raise Invalid("bad-json", "the text of a patch is not a string")
    return document


def read_time(text: object) -> str:
    """Return `text` if it is ``YYYY-MM-DDTHH:MM:SS.sssZ``.

    Raises:
        Invalid: ``bad-json``.
    """
    return _matching(_TIME, text, "time")


def read_ops(items: Sequence[dict[str, Any]]) -> tuple[Op, ...]:
    """Return the ops of a patch.

    Raises:
        Invalid: ``too-many`` or ``bad-op:<i>`` with the op's index.
    """
    if len(items) > MAX_OPS:
        raise Invalid("too-many", f"a patch has at most {MAX_OPS} ops", limit=MAX_OPS)
    ops: list[Op] = []
    for i, item in enumerate(items):
        try:
            ops.append(_op(item))
        except (Invalid, KeyError, TypeError, ValueError):
            raise Invalid(f"bad-op:{i}", f"op {i} cannot be read") from None
    if not ops:
        raise Invalid("bad-op", "a patch needs at least one op")
    return tuple(ops)


def _op(item: dict[str, Any]) -> Op:
    match item["op"]:
        case "set":
            return Set(read_key(item["key"]), read_value(item["value"]), _was(item))
        case "create":
            return Create()
        case "member":
            return _member(item)
        case "policy":
            return Policy(read_key(item["key"]), read_value(item["value"]))
        case "key":
            return Key(_name(item["kid"]), _name(item["public"]), item.get("until"))
        case "purge" | "sync" | "resume" as op:
            return DomainOp(op, {k: v for k, v in item.items() if k != "op"})
        case other:
            raise Invalid("bad-op", f"unknown op {other!r}")


def _was(item: dict[str, Any]) -> str | None | Missing:
    return read_value(item["was"]) if "was" in item else MISSING


def _member(item: dict[str, Any]) -> Member:
    role = item["role"]
    scope = item.get("scope")
    if isinstance(scope, list):
        scope = tuple(_name(part) for part in scope)
    return Member(
        parse_address(item["user"]),
        None if role is None else Role(role),
        scope,
        item.get("key"),
    )


def read_key(key: object) -> str:
    """Return `key` if it can be a task key: 1 to 255 bytes, no control characters.

    Raises:
        Invalid: ``bad-op``.
    """
    if not isinstance(key, str) or not 0 < len(key.encode()) <= MAX_KEY:
        raise Invalid("bad-op", f"a key has 1 to {MAX_KEY} bytes", limit=MAX_KEY)
    if not key.isprintable():
        raise Invalid("bad-op", "a key holds a character that cannot be shown")
    return key


def read_value(value: object) -> str | None:
    """Return `value` if it can be a task value: null or text of at most 64 KiB without NUL.

    Raises:
        Invalid: ``too-large`` or ``bad-op``.
    """
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise Invalid("bad-op", "a value is text without NUL, or null")
    if len(value) > MAX_VALUE // 4 and len(value.encode()) > MAX_VALUE:
        raise Invalid("too-large", f"a value has at most {MAX_VALUE} bytes", limit=MAX_VALUE)
    return value


def _name(text: object) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_NAME:
        raise Invalid("bad-op", "a name is missing or too long")
    return text


def _matching(pattern: re.Pattern[str], text: object, what: str) -> str:
    if not isinstance(text, str) or len(text) > _MAX_NAME or not pattern.match(text):
        raise Invalid("bad-json", f"not a {what}")
    return text


def _count(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Invalid("bad-json", "not a sequence number")
    return value


def op_document(op: Op) -> dict[str, Any]:
    """Return the JSON form of `op`; optional members are left out when empty."""
    match op:
        case Create():
            return {"op": "create"}
        case Set(key, value, was):
            document = {"op": "set", "key": key, "value": value}
            return document if was is MISSING else {**document, "was": was}
        case Member(user, role, scope, key):
            shown = list(scope) if isinstance(scope, tuple) else scope
            member = {"op": "member", "user": user, "role": None if role is None else role.value}
            extra = {"scope": shown, "key": key}
            return {**member, **{name: value for name, value in extra.items() if value}}
        case Policy(key, value):
            return {"op": "policy", "key": key, "value": value}
        case Key(kid, public, until):
            record = {"op": "key", "kid": kid, "public": public}
            return {**record, "until": until} if until else record
        case DomainOp(name, members):
            return {"op": name, **members}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A patch before it has a number, a base and a signature: what `plan` returns.

    Members left empty are left out of the document (tx-protocol section 4).
    """

    project: ProjectId
    subject: TaskId | ProjectId
    author: Address | Domain
    via: Via
    ops: tuple[Op, ...]
    mode: Mode = Mode.MERGE
    cause: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[Mapping[str, str], ...] = ()
    reverts: PatchId | None = None
    batch: str | None = None
    text: str | None = None

    def document(self, *, replica: ReplicaId, n: int, base: Base, at: str, nonce: str) -> Any:
        """Return the unsigned JSON document of the patch."""
        optional: dict[str, Any] = {
            "mode": self.mode.value if self.mode is not Mode.MERGE else None,
            "cause": dict(self.cause),
            "evidence": [dict(item) for item in self.evidence],
            "reverts": self.reverts,
            "batch": self.batch,
            "text": self.text,
        }
        return {
            "tx": 1,
            "type": "patch",
            "project": self.project,
            "subject": self.subject,
            "nonce": nonce,
            "replica": replica,
            "n": n,
            "base": {"seq": base.seq, "hash": base.hash},
            "author": self.author,
            "at": at,
            "via": self.via.value,
            "ops": [op_document(op) for op in self.ops],
        } | {name: value for name, value in optional.items() if value}
