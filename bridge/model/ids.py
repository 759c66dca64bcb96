"""Identifiers, parsed and checked once (tx-protocol section 1).

A value of one of these types has passed its check; functions that take them need no
check of their own. Names from the network become path parts only in this form: none
of them can hold a slash, a NUL or be a dot name.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import NewType

from email_validator import EmailNotValidError, validate_email

from bridge.errors import Invalid

Domain = NewType("Domain", str)
"""Lower-case A-label name without a final dot."""
Address = NewType("Address", str)
"""E-mail address; domain lower case, local part compared and kept in lower case."""
ProjectId = NewType("ProjectId", str)
"""``<unique>@<domain>``; a personal project's id is its user's address."""
TaskId = NewType("TaskId", str)
"""``<32 hex digits>-<project id>``."""
PatchId = NewType("PatchId", str)
"""``sha256:`` and the hex of the patch's canonical bytes without ``sigs``."""
Digest = NewType("Digest", str)
"""``sha256:`` and 64 hex digits: the name of a document or of an attachment."""
KeyId = NewType("KeyId", str)
"""``<domain>/<kid>``."""
ReplicaId = NewType("ReplicaId", str)
"""``<domain>/<name>``: one writing store."""

ZERO_HASH = Digest("sha256:" + "0" * 64)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\Z")
_UNIQUE = re.compile(r"[a-z0-9_+](?:[a-z0-9._+-]{0,62}[a-z0-9_+])?\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_TASK_HEX = re.compile(r"[0-9a-f]{32}\Z")
_KID = re.compile(r"[a-z0-9]{1,32}\Z")
_TASK_HEX_LENGTH = 32
_DOMAIN_MAX = 253
_ADDRESS_MAX = 254
# RFC 5321 atext without "/" and "%": those two would need escaping in paths and hrefs.
_LOCAL = re.compile(r"[a-z0-9!#$&'*+=?^_`{|}~-]+(?:\.[a-z0-9!#$&'*+=?^_`{|}~-]+)*\Z")
_LOCAL_MAX = 64


def parse_domain(text: str) -> Domain:
    """Return `text` as a domain; a U-label name becomes its A-label form.

    Raises:
        Invalid: ``bad-domain``.
    """
    name = text.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise Invalid("bad-domain", f"{text!r} is not a domain name") from None
    if len(name) > _DOMAIN_MAX or not _DOMAIN.match(name):
        raise Invalid("bad-domain", f"{text!r} is not a domain name")
    return Domain(name)


def parse_address(text: str) -> Address:
    """Return `text` as an e-mail address, checked for syntax only (no DNS).

    Raises:
        Invalid: ``bad-address``.
    """
    local, at, domain = text.rpartition("@")
    lowered = local.lower()
    if at and len(local) <= _LOCAL_MAX and _LOCAL.match(lowered):
        # Single-label and special-use names (localhost, .test, .example) are real on intranets.
        address = f"{lowered}@{parse_domain(domain)}"
        if len(address) <= _ADDRESS_MAX:
            return Address(address)
    try:
        checked = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise Invalid("bad-address", f"{text!r} is not an e-mail address") from None
    local = checked.local_part.lower()
    if len(local.encode()) > _LOCAL_MAX or any(c in "/%\\" or not c.isprintable() for c in local):
        raise Invalid("bad-address", f"{text!r} is not an e-mail address this server takes")
    return Address(f"{local}@{parse_domain(checked.ascii_domain)}")


def parse_project(text: str) -> ProjectId:
    """Return `text` as a project id: ``<unique>@<domain>`` or a user's address.

    Raises:
        Invalid: ``bad-project``.
    """
    unique, at, domain = text.rpartition("@")
    if _TASK_HEX.match(text[:_TASK_HEX_LENGTH]) and text[_TASK_HEX_LENGTH:33] == "-":
        # It would read as a task of another project: the two kinds of subject stay apart.
        raise Invalid("bad-project", f"{text!r} is not a project id")
    try:
        if at and _UNIQUE.match(unique):
            return ProjectId(f"{unique}@{parse_domain(domain)}")
        return ProjectId(parse_address(text))
    except Invalid:
        raise Invalid("bad-project", f"{text!r} is not a project id") from None


def parse_task(text: str) -> TaskId:
    """Return `text` as a task id.

    Raises:
        Invalid: ``bad-task``.
    """
    hexes, dash, project = text[:32], text[32:33], text[33:]
    if dash != "-" or not _TASK_HEX.match(hexes):
        raise Invalid("bad-task", f"{text!r} is not a task id")
    try:
        return TaskId(f"{hexes}-{parse_project(project)}")
    except Invalid:
        raise Invalid("bad-task", f"{text!r} is not a task id") from None


def parse_digest(text: str) -> Digest:
    """Return `text` as ``sha256:<64 hex>``.

    Raises:
        Invalid: ``bad-digest``.
    """
    if not _DIGEST.match(text):
        raise Invalid("bad-digest", f"{text!r} is not a sha256 digest")
    return Digest(text)


def parse_key_id(text: str) -> KeyId:
    """Return `text` as ``<domain>/<kid>``.

    Raises:
        Invalid: ``bad-key``.
    """
    domain, slash, kid = text.partition("/")
    if not slash or not _KID.match(kid) or not _DOMAIN.match(domain):
        raise Invalid("bad-key", f"{text!r} is not a key id")
    return KeyId(text)


def address_or_domain(text: str) -> Address | Domain:
    """Return the author of a patch: a user, or a domain acting for itself.

    Raises:
        Invalid: ``bad-address`` or ``bad-domain``.
    """
    return parse_address(text) if "@" in text else parse_domain(text)


def domain_of(name: str) -> Domain:
    """Return the domain of an address, project id, task id, key or replica id."""
    head = name.partition("/")[0]
    return Domain(head.rpartition("@")[2])


def project_of(subject: TaskId | ProjectId) -> ProjectId:
    """Return the project that a task id ends with; a project id is its own."""
    hexes, dash, project = subject[:32], subject[32:33], subject[33:]
    if dash == "-" and "@" in project and _TASK_HEX.match(hexes):
        return ProjectId(project)
    return ProjectId(subject)


def task_hex(task: TaskId) -> str:
    """Return the 32 hex digits of a task id: TaskChampion's uuid without dashes."""
    return task[:_TASK_HEX_LENGTH]


def task_id(identity: uuid.UUID, project: ProjectId) -> TaskId:
    """Return the id of a task of `project`."""
    return TaskId(f"{identity.hex}-{project}")


def imported_task(project: ProjectId, foreign_uid: str) -> TaskId:
    """Return the id of a task known elsewhere as `foreign_uid`: importing twice is one task."""
    name = f"{project}\n{foreign_uid}"
    # UUIDv5 over the nil namespace: the name itself already carries the project's domain.
    digest = hashlib.sha1(uuid.UUID(int=0).bytes + name.encode(), usedforsecurity=False).digest()
    return task_id(uuid.UUID(bytes=digest[:16], version=5), project)


def digest_of(data: bytes) -> Digest:
    """Return the name of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())
