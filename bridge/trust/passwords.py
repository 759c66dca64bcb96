"""App passwords: made once, shown once, checked at each request (performance point 7).

Form: four groups of five letters and digits, ``abcde-fghjk-mnpqr-stuvw``, nothing in it
that looks like something else. The first group is no secret: it selects the credential, so
that one check costs one argon2id however many passwords a user has. The other three hold 74
bits. Case, blanks and hyphens do not matter when it is typed.

Timing: a wrong password, a revoked one, a disabled user and an unknown user all cost one
look-up and one argon2id with the same parameters. At most `Settings.parallel` are computed
at once (each takes `Settings.memory_kib`); the rest waits in turn, then gets ``busy``.

Memo: what was verified is remembered for `Settings.memo_seconds` under a BLAKE2 hash keyed
with a secret of this process, so a polling client costs no argon2id. Revocation: in the
process that revokes, the next check already knows; other processes and hosts ask the
directory for changed users at most every `Settings.notice_seconds` (2 s, never more
than 5 s), so a revoked password is refused there after that time.

Not done here: counting failed logins of one address (the HTTP door does).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.errors import Corrupt, Invalid, Unavailable
from bridge.model.ids import parse_address
from bridge.store.directory_records import Credential

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable
    from datetime import datetime

    from bridge.model.ids import Address
    from bridge.store import directory_contract

ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without 0 and o, 1 and l and i."""
_LETTERS: Final = frozenset(ALPHABET)
GROUPS: Final = 4
GROUP_LENGTH: Final = 5
_LENGTH: Final = GROUPS * GROUP_LENGTH
_HEADER_MAX: Final = 1024
_NOTICE_MAX_SECONDS: Final = 5.0
_MEMO_KEY_BYTES: Final = 32
_LAST_USED_STEP: Final = timedelta(hours=1)
_ROUNDS: Final = 64

log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Costs and times.

    Attributes:
        time_cost: argon2id passes.
        memory_kib: argon2id memory in KiB (OWASP's figures: 19 MiB, 2 passes, 1 lane; the
            secret is random, so more buys nothing).
        parallel: argon2id computations at once.
        wait_seconds: how long a check waits for its turn.
        memo_seconds: how long a verified password is remembered.
        memo_entries: how many.
        notice_seconds: how long a revocation in another process may stay unnoticed.

    Raises:
        Invalid: ``bad-setting``.
    """

    time_cost: int = 2
    memory_kib: int = 19 * 1024
    parallel: int = 2
    wait_seconds: float = 10.0
    memo_seconds: float = 300.0
    memo_entries: int = 10_000
    notice_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Refuse to notice revocations later than promised."""
        if not 0 <= self.notice_seconds <= _NOTICE_MAX_SECONDS:
            raise Invalid("bad-setting", "revocations are noticed within 5 seconds")
        if min(self.parallel, self.memo_entries) < 1:
            raise Invalid("bad-setting", "passwords need at least one computation and one entry")


@dataclass(frozen=True, slots=True)
class _Remembered:
    user: str
    credential: Credential
    until: float


class Passwords:
    """Makes and checks app passwords; safe for threads, one for each process."""

    def __init__(
        self,
        store: directory_contract.Passwords,
        settings: Settings,
        *,
        random_bytes: Callable[[int], bytes],
        monotonic: Callable[[], float],
    ) -> None:
        """Check against `store`; `random_bytes` must be fit for keys, `monotonic` is seconds."""
        self._store = store
        self._settings = settings
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._hasher = PasswordHasher(
            time_cost=settings.time_cost,
            memory_cost=settings.memory_kib,
            parallelism=1,
            type=Type.ID,
        )
        self._dummy = self._hasher.hash(random_bytes(32))
        self._key = random_bytes(_MEMO_KEY_BYTES)
        # Bounds memory: each computation holds memory_kib while it runs.
        self._turns = threading.BoundedSemaphore(settings.parallel)
        # Guards the four fields below; held for dictionary work only.
        self._lock = threading.Lock()
        self._memo: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._generation = 0
        self._asked_at = float("-inf")
        self._changes_here = -1

    def create(self, user: Address, label: str, identity: uuid.UUID, now: datetime) -> str:
        """Make a password for `user` and return it, for the only time.

        Raises:
            NotFound: ``no-user``.
            Unavailable: ``no-entropy`` if the random source keeps giving the same.
        """
        credential = Credential(id=identity, user=user, label=label, created=now)
        for _ in range(_ROUNDS):
            letters = self._letters()
            added = self._store.add(
                credential,
                selector=letters[:GROUP_LENGTH],
                password_hash=self._in_turn(partial(self._hasher.hash, letters)),
            )
            if added:
                groups = range(0, _LENGTH, GROUP_LENGTH)
                return "-".join(letters[at : at + GROUP_LENGTH] for at in groups)
        raise Unavailable("no-entropy", "no password could be made")

    def check(self, user: str, password: str, now: datetime) -> Credential | None:
        """Return the credential that `password` belongs to, or None.

        Raises:
            Unavailable: ``busy``, or as the directory does.
        """
        if len(user) + len(password) > _HEADER_MAX:
            return None
        return self._check(f"{user}\0{password}", lambda: (user, password), now)

    def check_basic(self, header: str, now: datetime) -> Credential | None:
        """Return the credential of an ``Authorization: Basic`` header (RFC 7617), or None.

        Raises:
            Unavailable: as `check`.
        """
        if len(header) > _HEADER_MAX:
            return None
        return self._check(header, lambda: _basic(header), now)

    def _check(
        self, shown: str, parts: Callable[[], tuple[str, str] | None], now: datetime
    ) -> Credential | None:
        name = hashlib.blake2b(
            shown.encode(errors="surrogatepass"), key=self._key, digest_size=32
        ).digest()
        at = self._monotonic()
        late = at - self._asked_at >= self._settings.notice_seconds
        if late or self._changes_here != self._store.changes_here:
            self._ask(at)
        with self._lock:
            held = self._memo.get(name)
            if held is not None and at < held.until:
                self._memo.move_to_end(name)
                return held.credential
        pair = parts()
        return None if pair is None else self._verify(name, *pair, now)

    def _verify(self, name: bytes, user: str, password: str, now: datetime) -> Credential | None:
        # Asked before the look-up: a change that comes later has a later generation.
        generation = self._ask(self._monotonic())
        letters = _typed(password)
        try:
            address = parse_address(user)
        except Invalid:
            verifier = None
        else:
            verifier = self._store.find(address, letters[:GROUP_LENGTH])
        expected = self._dummy if verifier is None else verifier.hash
        good = self._in_turn(partial(self._matches, expected, letters))
        if verifier is None or not good:
            return None
        self._note_use(verifier.credential, expected, letters, now)
        self._remember(name, verifier.credential, generation)
        return verifier.credential

    def _matches(self, expected: str, letters: str) -> bool:
        try:
            return self._hasher.verify(expected, letters)
        except InvalidHashError:
            raise Corrupt("directory-damaged", "a stored password hash is damaged") from None
        except VerificationError:
            return False

    def _note_use(self, held: Credential, old_hash: str, letters: str, now: datetime) -> None:
        stale = self._hasher.check_needs_rehash(old_hash)
        if not stale and held.last_used is not None and now - held.last_used < _LAST_USED_STEP:
            return
        new_hash = self._in_turn(partial(self._hasher.hash, letters)) if stale else ""
        try:
            self._store.used(held.id, now, new_hash=new_hash)
        except Unavailable as error:
            # A login must not fail because its date cannot be written, e.g. on a full disk.
            log.warning("last use not written", extra={"actor": held.user, "code": error.code})

    def _remember(self, name: bytes, credential: Credential, generation: int) -> None:
        until = self._monotonic() + self._settings.memo_seconds
        with self._lock:
            if self._generation != generation:
                return  # someone's credentials changed meanwhile, perhaps this one
            self._memo[name] = _Remembered(credential.user, credential, until)
            self._memo.move_to_end(name)
            while len(self._memo) > self._settings.memo_entries:
                self._memo.popitem(last=False)

    def _ask(self, at: float) -> int:
        """Forget whose credentials changed; return the generation known now."""
        changes_here = self._store.changes_here
        with self._lock:
            since = self._generation
        changed = self._store.changed_since(since)
        with self._lock:
            if changed.users:
                gone = [name for name, held in self._memo.items() if held.user in changed.users]
                for name in gone:
                    del self._memo[name]
            self._generation = max(self._generation, changed.generation)
            self._asked_at = max(self._asked_at, at)
            self._changes_here = changes_here
            return self._generation

    def _in_turn(self, compute: Callable[[], _T]) -> _T:
        if not self._turns.acquire(timeout=self._settings.wait_seconds):
            raise Unavailable("busy", "too many logins at once", retry=True)
        try:
            return compute()
        finally:
            self._turns.release()

    def _letters(self) -> str:
        found: list[str] = []
        for _ in range(_ROUNDS):
            # 31 letters from 5 bits: the 32nd value is thrown away, so none is likelier.
            values = (byte & 31 for byte in self._random_bytes(_LENGTH))
            found += [ALPHABET[value] for value in values if value < len(ALPHABET)]
            if len(found) >= _LENGTH:
                return "".join(found[:_LENGTH])
        raise Unavailable("no-entropy", "no password could be made")


def _typed(password: str) -> str:
    """Return the letters of a password as a person may type it, or "" where others are in it."""
    letters = password.lower().replace("-", "").replace(" ", "")
    return letters if _LETTERS.issuperset(letters) else ""


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = (
            base64.b64decode(value.strip(), validate=True).decode().partition(":")
        )
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
