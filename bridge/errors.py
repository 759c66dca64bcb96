"""The one exception tree.

Expected outcomes of a command (refused, conflict) are values, not exceptions: see
`bridge.worker.command`. What is raised here crosses a layer because the layer in
between cannot do anything about it. `public` is safe to show to a stranger, `fields`
go to the log only.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Something could not be done, with a code for machines and a sentence for people.

    Args:
        code: stable name, for example ``too-large`` (tx-protocol section 12) or the
            precondition of an RFC, for example ``no-uid-conflict``.
        public: one sentence, no capital and no full stop, safe for a stranger.
        retry: True where the same request may succeed later.
        hint: what a person can do about it.
        fields: facts for the log; never bodies, keys or passwords.
    """

    def __init__(
        self, code: str, public: str, *, retry: bool = False, hint: str = "", **fields: object
    ) -> None:
        """Keep the parts; ``str()`` gives the public sentence."""
        super().__init__(public)
        self.code = code
        self.public = public
        self.retry = retry
        self.hint = hint
        self.fields = fields


class Invalid(BridgeError):
    """The input breaks a rule of its format or exceeds a limit."""


class NotFound(BridgeError):
    """There is no such thing, or the caller may not know of it."""


class Untrusted(BridgeError):
    """A proof of origin is missing, broken or names somebody else."""


class Unavailable(BridgeError):
    """Not now: a full queue, a full disk, a lock held by another process."""


class Corrupt(BridgeError):
    """Stored data contradicts itself; `fields` name the place."""


class Misconfigured(BridgeError):
    """The configuration cannot be used (exit status 78)."""
