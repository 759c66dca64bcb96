"""What a decision makes of a mail: a task, a request, or an original kept aside.

Every id is derived from the mail, so doing it again after a crash meets what was done.
The worker has the last word: a task that it refuses becomes a request, which the recipient
can still accept by hand. Raises `Unavailable` where anything says "not now".
"""

from __future__ import annotations

import json
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError, Invalid, Unavailable
from bridge.mail.address import default_project, may_create, named_project
from bridge.mail.case import Result, Source, tells
from bridge.mail.checks import Decision, Kind
from bridge.mail.draft import read_draft
from bridge.model.ids import ProjectId, imported_task
from bridge.model.patch import Via
from bridge.model.request import Direction, Side
from bridge.worker.command import Actor, CreateTask, Receipt, ReceiveRequest, Refused

if TYPE_CHECKING:
    from bridge.mail.address import Recipient
    from bridge.mail.case import Case, Incoming, IntakeSettings
    from bridge.mail.draft import Draft
    from bridge.model.ids import Digest
    from bridge.worker.command import Command
    from bridge.worker.gateway import Gateway

TOO_MANY: Final = "too-many"
"""The worker's code for a cap that a request would break."""
REFUSED_MAX: Final = 1024 * 1024
"""Bytes of refused mail that is kept."""
_KEYS_MAX: Final = 60_000
"""Bytes of a request's keys as JSON; tx-protocol section 18 gives a message 64 KiB."""


class Delivery:
    """Carries decisions out on one gateway; any thread may call."""

    def __init__(self, gateway: Gateway, settings: IntakeSettings) -> None:
        """Submit to `gateway`."""
        self._gateway = gateway
        self._settings = settings

    def carry_out(self, case: Case, decision: Decision) -> Result:
        """Do what was decided and return what there is now, for the record.

        Raises:
            Unavailable: ``busy``, ``over-cap`` and others; the mail must come again.
        """
        match decision.kind:
            case Kind.TASK_OF_SENDER | Kind.TASK_OF_RECIPIENT:
                return self._task(case, decision)
            case Kind.REQUEST:
                return self._request(case, decision, self._draft(case))
            case Kind.HIDE | Kind.REJECT:
                original = self.keep_refused(case.incoming, case.recipient, tell=tells(decision))
                return Result(decision=decision, original=original)

    def project_of(self, case: Case, name: str) -> ProjectId | None:
        """Return the project that a detail or a mail's text names."""
        gateway = self._gateway
        return named_project(name, case.recipient.user.address, gateway.index, gateway.domain)

    def keep_refused(
        self, incoming: Incoming, recipient: Recipient, *, tell: bool
    ) -> Digest | None:
        """Keep the original of refused mail where nobody else has it any more.

        IMAP keeps it in a mailbox, an SMTP client that hears 5xx keeps it itself; LMTP is
        told 250 so that our own mail server sends no bounce to a forged sender. Of a large
        one only the digest stays, in the journal: no cap stands before this disk.
        """
        told = tell and incoming.source is Source.SMTP
        if incoming.source is Source.IMAP or told or len(incoming.raw) > REFUSED_MAX:
            return None
        try:
            return self._gateway.keep_blob(ProjectId(recipient.user.address), incoming.raw)
        except Invalid:
            return None

    def _draft(self, case: Case) -> Draft:
        user = case.recipient.user
        return read_draft(case.message, case.verdict, user, case.incoming.received)

    def _task(self, case: Case, decision: Decision) -> Result:
        user, sender = case.recipient.user, case.message.author
        draft = self._draft(case)
        own = decision.kind is Kind.TASK_OF_SENDER
        project = self._place_of(case, draft, own=own)
        original = self._gateway.keep_blob(project, case.message.source)
        keys = {**draft.keys, **self._attach(project, draft), "source": "mail"}
        if not own:
            keys |= {"requester": sender, "rfa": str(case.origin)}
        # From what was signed, so that one mail to two members of a project is one task.
        task = imported_task(project, f"mail:{case.verdict.digest}")
        actor = Actor(
            user=sender if own else user.address,
            via=Via.MAIL,
            evidence=({"kind": case.verdict.method.value, "signer": sender, "ref": original},),
            cause={} if own else {"rfa": str(case.origin)},
        )
        outcome = self._submit(CreateTask(actor=actor, task=task, keys=keys))
        if isinstance(outcome, Receipt):
            return Result(
                decision=decision, original=original, draft=draft, project=project, task=task
            )
        asked = Decision(
            kind=Kind.REQUEST,
            code="not-permitted",
            reason=outcome.reason,
            step=decision.step,
            answer=decision.answer,
            quarantined=case.contact is None,
        )
        return self._request(case, asked, draft)

    def _place_of(self, case: Case, draft: Draft, *, own: bool) -> ProjectId:
        """Return where a task goes.

        A member writes where the envelope says and nowhere else: the subject that could
        name another project is not signed.
        """
        detail, user = case.recipient.detail, case.recipient.user
        named = self.project_of(case, detail or ("" if own else draft.project))
        if named is not None and (own or may_create(user.address, named, self._gateway.index)):
            return named
        return default_project(user, self._gateway.index)

    def _request(self, case: Case, decision: Decision, draft: Draft) -> Result:
        user, sender = case.recipient.user, case.message.author
        over = self._over_cap(case, decision)
        if over:
            return _too_many(case, over)
        home = ProjectId(user.address)
        original = self._gateway.keep_blob(home, case.message.source)
        hint = self.project_of(case, case.recipient.detail or draft.project)
        if hint is not None and not may_create(user.address, hint, self._gateway.index):
            hint = None
        attached = self._attach(home, draft)
        outcome = self._submit(
            ReceiveRequest(
                id=case.origin,
                recipient=user.address,
                sender=sender,
                level=case.level.value,
                method=case.verdict.method.value,
                fingerprint=case.verdict.fingerprint,
                reason=decision.reason,
                message=original,
                project=hint,
                keys=_fitted({**draft.keys, **attached, "source": "mail", "requester": sender}),
            )
        )
        if isinstance(outcome, Receipt):
            return Result(
                decision=decision,
                original=original,
                draft=draft,
                project=hint,
                request=case.origin,
            )
        if outcome.code == TOO_MANY:
            return _too_many(case, outcome.reason)
        refused = Decision(
            kind=Kind.REJECT, code="not-permitted", reason=outcome.reason, step=decision.step
        )
        return Result(decision=refused, original=original)

    def _over_cap(self, case: Case, decision: Decision) -> str:
        """Return the cap that one more request would break; empty if there is none."""
        requests, user = self._gateway.directory.requests, case.recipient.user.address
        if requests.get(Side(user, Direction.RECEIVED, case.origin)) is not None:
            return ""
        over = requests.over_cap(
            user,
            case.message.author,
            known=not decision.quarantined,
            now=case.now,
            caps=self._settings.caps,
        )
        return over.value if over is not None else ""

    def _attach(self, project: ProjectId, draft: Draft) -> dict[str, str]:
        """Store the files of a mail; return the task keys that name them."""
        for one in draft.files:
            self._gateway.keep_blob(project, one.content)
        return {one.key: one.value() for one in draft.files}

    def _submit(self, command: Command) -> Receipt | Refused:
        """Return what the worker says for good.

        Raises:
            Unavailable: it says "not now", or nothing in time.
        """
        try:
            outcome = self._gateway.submit(command).result(self._settings.commit_seconds)
        except (FutureTimeoutError, TimeoutError):
            raise Unavailable("busy", "the gateway is busy", retry=True) from None
        except Unavailable:
            raise
        except BridgeError as error:
            return Refused(code=error.code, reason=error.public)
        if isinstance(outcome, Receipt):
            return outcome
        if not isinstance(outcome, Refused):
            return Refused(code="conflict", reason=outcome.reason)
        if outcome.retry and outcome.code != TOO_MANY:
            raise Unavailable(outcome.code, outcome.reason, retry=True)
        return outcome


def _too_many(case: Case, reason: str) -> Result:
    """Set a mail aside, or have its mail server come again: behind a mailbox there is none.

    Raises:
        Unavailable: ``over-cap``.
    """
    if case.incoming.source is not Source.IMAP:
        raise Unavailable("over-cap", reason, retry=True)
    return Result(decision=Decision(kind=Kind.REJECT, code="over-cap", reason=reason))


def _fitted(keys: dict[str, str]) -> dict[str, str]:
    """Return `keys` with the notes cut to what a request may hold; the original has them all."""
    while len(json.dumps(keys)) > _KEYS_MAX and keys.get("notes"):
        notes = keys["notes"]
        keys = {**keys, "notes": notes[: len(notes) // 2]}
    return keys
