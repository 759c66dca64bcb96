"""Checking a container without the network: chain, signatures, decisions, attachments.

Everything is made again from the first entry: hashes and their chain, who signed what and
might, what the master skipped. The first damage of a log is named with its file and line;
what comes after it proves nothing, because every entry rests on those before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import BridgeError, Corrupt, Invalid
from bridge.model.ids import Digest, KeyId, digest_of, domain_of, parse_digest
from bridge.model.log import Fold, read_entry
from bridge.model.patch import Key
from bridge.model.state import ATTACHMENT, ProjectState
from bridge.store.rows import BLOB
from bridge.store.segments import parse_place
from bridge.trust.patchsig import SignatureChecker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge.model.ids import ProjectId
    from bridge.model.log import Entry
    from bridge.store import Place
    from bridge.trust.patchsig import DomainKey

_SCHEME: Final = "sha256:"
_CHUNK: Final = 1 << 20
_SAID: Final = {
    "bad-line": "this line cannot be read",
    "bad-seq": "an entry is missing before it, or it stands twice",
    "bad-prev": "the entry before it is not the one that it was written after",
    "bad-project": "it is an entry of another project",
    "bad-ts": "it is dated before the entry before it",
    "bad-body": "its content is not what was signed",
    "bad-patch": "its patch is not the one that was recorded",
    "bad-entry-signature": "the domain has not signed it like this",
    "bad-patch-signature": "its author's domain has not signed the patch like this",
    "bad-patch-signer": "the patch is signed by a domain that may not speak for its author",
    "bad-skipped": "what it says about lost changes is not what the rules give",
    "bad-admission": "the rules of the log do not allow this change",
    "log-gap": "a part of the log is missing",
    "torn-segment": "a finished part of the log is cut off",
    "other-key": "the log begins with another key of the domain than the one in use here",
    "log-short": "entries that the index has seen are missing at the end",
    "blob-damaged": "an attachment's content is not what its name says",
    "blob-missing": "an attachment is missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One fault: its code, where it is, and what it means."""

    code: str
    seq: int = 0
    file: str = ""
    line: int = 0
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The fault in words."""
        where = f"{self.file} line {self.line}: " if self.line else ""
        if self.file and not self.line:
            where = f"{self.file}: "
        entry = f"entry {self.seq}: " if self.seq else ""
        said = _SAID.get(self.code, self.detail or "it cannot be read")
        return f"{where}{entry}{said} ({self.code})"


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found in one container.

    Attributes:
        entries: good ones, from the first.
        state: after the last good entry.
    """

    project: ProjectId
    entries: int = 0
    blobs: int = 0
    state: ProjectState | None = None
    damage: list[Damage] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "project": self.project,
            "ok": not self.damage,
            "entries": self.entries,
            "blobs": self.blobs,
            "head": self.state.hash if self.state else None,
            "keys": dict(self.state.keys) if self.state else {},
            "damage": [
                {
                    "code": one.code,
                    "seq": one.seq or None,
                    "file": one.file or None,
                    "line": one.line or None,
                    "sentence": one.sentence,
                }
                for one in self.damage
            ],
        }


def examine(
    project: ProjectId,
    lines: Iterator[tuple[int, Place, bytes]],
    *,
    own: DomainKey | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Report, set[Digest]]:
    """Check a log; return what was found and the blobs that its entries name.

    Args:
        project: whose log it should be.
        lines: of the log, as `bridge.store.LogReader.read` yields them.
        own: this domain's key, which must be the one that the log begins with.
        progress: told the number of entries checked.
    """
    report, named = Report(project=project), set[Digest]()
    keys: dict[KeyId, str] = {}
    place: Place | None = None
    try:
        begun = list(islice(lines, 2))
        # The first entry can be checked only with the key that the second one records.
        for seq, place, line in begun:
            ops = _read(line, seq).patch.ops
            if seq > 1:
                keys = {KeyId(op.kid): op.public for op in ops if isinstance(op, Key)}
        fold = Fold(project=ProjectState(id=project), checker=SignatureChecker(keys))
        for seq, place, line in chain(begun, lines):
            entry = _read(line, seq)
            fold.add(entry)
            named |= _blobs(entry)
            report.entries, report.state = seq, fold.project
            if progress and seq % 100 == 0:
                progress(seq)
    except Corrupt as error:
        report.damage.append(_located(error, report.entries + 1, place))
        return report, named
    if own is not None and own.domain == domain_of(project):
        recorded = keys.get(own.id)
        if recorded is not None and recorded != own.public:
            report.damage.append(Damage(code="other-key", seq=2))
    return report, named


def _read(line: bytes, seq: int) -> Entry:
    try:
        return read_entry(line)
    except Invalid as error:
        raise Corrupt("bad-line", str(error), seq=seq) from None


def _located(error: Corrupt, seq: int, place: Place | None) -> Damage:
    found = error.fields.get("seq")
    if not isinstance(found, int) or place is None:
        # The log as a whole: the store names the file.
        where = str(error.fields.get("path") or error.fields.get("directory") or "")
        expected = error.fields.get("expected")
        seq = expected if isinstance(expected, int) else seq
        return Damage(code=error.code, seq=seq, file=where, detail=error.public)
    first, _, _ = parse_place(place)
    return Damage(
        code=error.code,
        seq=found,
        file=f"log/{first:08d}.jsonl",
        line=found - first + 1,
        detail=error.public,
    )


def _blobs(entry: Entry) -> set[Digest]:
    """Return the blobs that an entry names: attachments, long values, clients' texts."""
    texts = [entry.patch.text or ""]
    for op in entry.patch.document["ops"]:
        key, value = op.get("key"), op.get("value")
        if isinstance(key, str) and key.startswith(ATTACHMENT) and value is not None:
            texts.append(_SCHEME + key.removeprefix(ATTACHMENT))
        if isinstance(value, str) and value.startswith(BLOB):
            texts.append(value.removeprefix(BLOB))
    found = set()
    for text in texts:
        if text.startswith(_SCHEME):
            try:
                found.add(parse_digest(text))
            except BridgeError:
                continue
    return found


def examine_blobs(report: Report, directory: Path, named: set[Digest]) -> None:
    """Check every attachment in `directory` and that those `named` are there."""
    here: set[Digest] = set()
    for path in sorted(directory.glob("??/*")):
        digest = Digest(_SCHEME + path.name)
        with path.open("rb") as content:
            if digest_of(content.read()) == digest:
                here.add(digest)
                report.blobs += 1
            else:
                report.damage.append(Damage(code="blob-damaged", file=f"blobs/{path.name}"))
                named = named - {digest}
    report.damage += [
        Damage(code="blob-missing", file=f"blobs/{one.removeprefix(_SCHEME)}")
        for one in sorted(named - here)
    ]
