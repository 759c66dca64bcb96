"""Ed25519 signatures of documents, and the domain key that makes them.

What is signed: tx-protocol section 3. Who may sign a patch: section 4. Verifiers ignore
signatures with an unknown ``alg`` but need one good known one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bridge.errors import Misconfigured
from bridge.model.canonical import canonical, covered_bytes, signed_bytes, unsigned
from bridge.model.ids import Domain, KeyId, domain_of
from bridge.model.patch import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.log import Entry
    from bridge.model.patch import Patch
    from bridge.model.state import ProjectState

PATCH = "TX1-patch"
ENTRY = "TX1-entry"
_SEED = 32
_MAX_SIGNATURES = 8


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Return the bytes of base64url without padding.

    Raises:
        ValueError: not base64url.
    """
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True, slots=True)
class DomainKey:
    """The private key of a domain; never printed, never logged."""

    id: KeyId
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def from_seed(cls, key: KeyId, seed: bytes) -> DomainKey:
        """Return the key of a 32-byte seed.

        Raises:
            Misconfigured: ``bad-key``.
        """
        if len(seed) != _SEED:
            raise Misconfigured("bad-key", f"the key file of {key} does not hold 32 bytes")
        return cls(key, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def domain(self) -> Domain:
        """The domain that signs with this key."""
        return Domain(self.id.partition("/")[0])

    @property
    def public(self) -> str:
        """The public key in base64url, as a ``key`` op and the DNS record carry it."""
        return b64(self.private.public_key().public_bytes_raw())

    def sign(self, label: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return `document` with this key's signature as its only one."""
        return self.sign_canonical(label, document, canonical(unsigned(document)))

    def sign_canonical(self, label: str, document: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Return `document` signed, where `data` is its canonical form without ``sigs``."""
        signature = b64(self.private.sign(covered_bytes(label, data)))
        return {**document, "sigs": [{"alg": "ed25519", "kid": self.id, "sig": signature}]}


def good_signers(
    label: str, document: Mapping[str, Any], keys: Mapping[KeyId, str]
) -> tuple[set[KeyId], bool]:
    """Return the keys whose signature is good, and whether any known one is bad."""
    good: set[KeyId] = set()
    bad = False
    covered = signed_bytes(label, dict(document))
    signatures = document.get("sigs")
    for item in signatures[:_MAX_SIGNATURES] if isinstance(signatures, list) else ():
        if not isinstance(item, dict) or item.get("alg") != "ed25519":
            continue
        kid = item.get("kid")
        public = keys.get(KeyId(kid)) if isinstance(kid, str) else None
        if public is None:
            continue
        if _is_good(public, item.get("sig"), covered):
            good.add(KeyId(str(kid)))
        else:
            bad = True
    return good, bad


def _is_good(public: str, signature: object, covered: bytes) -> bool:
    if not isinstance(signature, str):
        return False
    try:
        _public_key(public).verify(unb64(signature), covered)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


@lru_cache(maxsize=512)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(unb64(public))


@dataclass(frozen=True, slots=True)
class SignatureChecker:
    """Checks a log against the keys recorded in it (`bridge.model.log.Checker`).

    A new domain's key is recorded by the entry before its first use; the first two
    entries of a log introduce the key of the project's own domain (section 5), so there
    the key in the second entry itself, given as `first_keys`, is the one to believe.
    """

    first_keys: Mapping[KeyId, str] = field(default_factory=dict)

    def entry(self, entry: Entry, project: ProjectState) -> str | None:
        """Return None if the master signed `entry`, else ``bad-entry-signature``."""
        good, bad = good_signers(ENTRY, entry.head, self._keys(entry.patch, project))
        owners = {domain_of(kid.partition("/")[0]) for kid in good}
        return None if not bad and domain_of(project.id) in owners else "bad-entry-signature"

    def patch(self, patch: Patch, project: ProjectState) -> str | None:
        """Return None, ``bad-patch-signature`` or ``bad-patch-signer`` (section 4)."""
        good, bad = good_signers(PATCH, patch.document, self._keys(patch, project))
        if bad or not good:
            return "bad-patch-signature"
        signers = {kid.partition("/")[0] for kid in good}
        author = domain_of(patch.author)
        if author in signers:
            return None
        return None if _vouched(patch, project, signers, author) else "bad-patch-signer"

    def _keys(self, patch: Patch, project: ProjectState) -> Mapping[KeyId, str]:
        if project.keys:
            return project.keys
        recorded = {KeyId(op.kid): op.public for op in patch.ops if isinstance(op, Key)}
        return {**recorded, **self.first_keys}


def _vouched(patch: Patch, project: ProjectState, signers: set[str], author: Domain) -> bool:
    """The project's domain may sign for a mail-only user, with evidence (section 4)."""
    if any(kid.partition("/")[0] == author for kid in project.keys):
        return False
    return domain_of(project.id) in signers and bool(patch.document.get("evidence"))
