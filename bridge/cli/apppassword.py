"""App passwords on the command line: made, or taken from a file if they are as good.

A given one must have the form of those that are made (`bridge.trust.passwords`), because
its first group selects the credential at each login, and must look random: an app password
is never chosen by a person. It is hashed with the same parameters.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher, Type

from bridge.errors import Invalid
from bridge.store.directory_records import Credential
from bridge.trust.passwords import ALPHABET, GROUP_LENGTH, GROUPS, Passwords, Settings

if TYPE_CHECKING:
    from bridge.model.ids import Address
    from bridge.worker.gateway import Gateway

_LENGTH: Final = GROUPS * GROUP_LENGTH
_READ_MAX: Final = 256
_DISTINCT: Final = 8
"""Of 20 letters drawn from 31 fewer than 8 different ones have a chance below 1 in 10^7."""
_STEPS: Final = 6
"""Neighbours in the alphabet, side by side: more are typed along a row, not drawn."""


def make(gateway: Gateway, user: Address, label: str) -> str:
    """Make an app password for `user` and return it, for the only time.

    Raises:
        NotFound: ``no-user``.
    """
    passwords = Passwords(
        gateway.directory.passwords,
        Settings(),
        random_bytes=gateway.random_bytes,
        monotonic=time.monotonic,
    )
    return passwords.create(user, label, gateway.new_id(), gateway.clock())


def read(file: str) -> str:
    """Return the app password in `file`; ``-`` is standard input.

    Raises:
        Invalid: ``bad-password`` or ``weak-password``.
        OSError: the file cannot be read.
    """
    if file == "-":
        text = sys.stdin.read(_READ_MAX)
    else:
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(_READ_MAX)
    letters = text.strip().lower().replace("-", "").replace(" ", "")
    if len(letters) != _LENGTH or not set(ALPHABET).issuperset(letters):
        raise Invalid(
            "bad-password",
            f"the password has not the form of an app password: {_LENGTH} letters and digits"
            " without 0, 1, i, l and o, for example in groups xxxxx-xxxxx-xxxxx-xxxxx",
            hint="leave --password-file out and a password is made",
        )
    if not _looks_random(letters):
        raise Invalid(
            "weak-password",
            "the password is too regular to be safe",
            hint="leave --password-file out and a password is made",
        )
    return "-".join(letters[at : at + GROUP_LENGTH] for at in range(0, _LENGTH, GROUP_LENGTH))


def _looks_random(letters: str) -> bool:
    groups = {letters[at : at + GROUP_LENGTH] for at in range(0, _LENGTH, GROUP_LENGTH)}
    steps = sum(
        abs(ALPHABET.index(one) - ALPHABET.index(other)) <= 1 for one, other in pairwise(letters)
    )
    return len(groups) == GROUPS and len(set(letters)) >= _DISTINCT and steps <= _STEPS


def adopt(gateway: Gateway, user: Address, label: str, password: str) -> None:
    """Give `user` the app password that `read` returned.

    Raises:
        Invalid: ``password-in-use``.
        NotFound: ``no-user``.
    """
    cost = Settings()
    hasher = PasswordHasher(
        time_cost=cost.time_cost, memory_cost=cost.memory_kib, parallelism=1, type=Type.ID
    )
    letters = password.replace("-", "")
    credential = Credential(id=gateway.new_id(), user=user, label=label, created=gateway.clock())
    added = gateway.directory.passwords.add(
        credential, selector=letters[:GROUP_LENGTH], password_hash=hasher.hash(letters)
    )
    if not added:
        raise Invalid(
            "password-in-use",
            f"{user} has an app password that begins with the same group",
            hint="revoke that one, or choose another",
        )
