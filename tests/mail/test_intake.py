"""What becomes of a mail, whatever door it came by: the accept policy end to end."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from mailkit import ALICE, BOB, MALLORY, TASKS, Desk, MailHouse, Post, auto_accept, head, plain

from bridge.errors import Unavailable
from bridge.mail.case import Disposition, IntakeSettings, Source
from bridge.model.ids import Address, ProjectId, digest_of
from bridge.model.patch import Role, Via
from bridge.model.request import Level, State
from bridge.store.directory_records import Acquaintance, Listing, ListName, SenderKind
from bridge.worker.command import Actor, CreateProject, CreateTask, Refused, SetMember

TEAM = ProjectId("aaaaaaaaaaaaaaaaaaaaaaaaaa@home.example")


def team(house: MailHouse, **roles: Role) -> None:
    actor = Actor(user=BOB, via=Via.CALDAV)
    house.submit(CreateProject(actor=actor, project=TEAM, policy={"name": "Garden work"})).result()
    for user, role in roles.items():
        address = Address(f"{user}@sender.example")
        house.submit(SetMember(actor=actor, project=TEAM, user=address, role=role)).result()


def test_signed_mail_of_an_allowed_contact_becomes_a_task(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed("Due: 2026-12-01\n\nTwo coats.\n", subject="Paint the fence #garden !high")
    taken = desk.take(raw)
    assert (taken.disposition, taken.code) == (Disposition.DONE, "allowed")
    [task] = house.tasks(BOB)
    assert task["description"] == "Paint the fence"
    assert task["notes"] == "Two coats."
    assert (task["due"], task["priority"]) == ("2026-12-01", "high")
    assert "tag_garden" in task
    assert (task["requester"], task["source"]) == (ALICE, "mail")


def test_the_patch_names_the_recipient_the_proof_and_the_stored_original(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    desk.take(raw)
    command = house.commands[-1]
    assert isinstance(command, CreateTask)
    [proof] = command.actor.evidence
    assert (command.actor.user, command.actor.via) == (BOB, Via.MAIL)
    assert (proof["kind"], proof["signer"]) == ("smime", ALICE)
    assert house.blobs.read(ProjectId(BOB), digest_of(raw)) == raw
    assert proof["ref"] == digest_of(raw)


def test_opaque_signature_is_read_as_well(desk: Desk, house: MailHouse, post: Post) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    assert desk.take(post.signed("Inside.\n", opaque=True)).code == "allowed"
    assert house.tasks(BOB)[0]["notes"] == "Inside."


def test_pinned_certificate_needs_no_authority(desk: Desk, house: MailHouse, post: Post) -> None:
    key = post.certificate(ALICE, "stranger")
    house.know(BOB, ALICE, Acquaintance.ALLOWED, pin=key)
    assert desk.take(post.signed(key=key)).code == "allowed"
    assert len(house.tasks(BOB)) == 1


def test_attachments_become_blobs_named_by_keys(desk: Desk, house: MailHouse, post: Post) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    entity = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/plain\r\n\r\nSee the plan.\r\n--b\r\n"
        b'Content-Type: application/pdf; name="../../plan.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nUERG\r\n--b--\r\n"
    )
    desk.take(post.signed(entity))
    [task] = house.tasks(BOB)
    digest = digest_of(b"PDF")
    facts = json.loads(task[f"attach_{digest.removeprefix('sha256:')}"])
    assert facts == {"name": "plan.pdf", "type": "application/pdf", "size": 3}
    assert house.blobs.read(ProjectId(BOB), digest) == b"PDF"


def test_signed_mail_of_a_stranger_waits_in_quarantine(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    assert desk.take(post.signed()).code == "unknown"
    assert house.tasks(BOB) == []
    [request] = house.waiting(BOB)
    assert (request.sender, request.level, request.state) == (
        ALICE,
        Level.PERSON,
        State.REQUESTED,
    )
    assert request.preview.title == "Fence"


def test_unsigned_mail_is_an_unverified_request_even_of_an_allowed_contact(
    desk: Desk, house: MailHouse
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    assert desk.take(plain()).code == "unsigned"
    assert house.tasks(BOB) == []
    [request] = house.waiting(BOB)
    assert request.level is Level.NONE
    assert "unverified" in request.proof_reason
    assert house.letters() == []


def test_unknown_authority_makes_a_mail_unverified_not_forged(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    raw = post.signed(key=post.certificate(ALICE, "stranger"))
    assert desk.take(raw).code == "untrusted-chain"
    assert house.waiting(BOB)[0].level is Level.NONE


def test_known_contact_asks_unless_the_user_accepts_the_level(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.KNOWN)
    assert desk.take(post.signed(subject="One")).code == "known"
    assert len(house.waiting(BOB)) == 1
    house.directory.people.set_policy(BOB, auto_accept(Level.PERSON))
    desk.take(post.signed(subject="Two", text="Other.\n"))
    assert [task["description"] for task in house.tasks(BOB)] == ["Two"]


# -- forgery -----------------------------------------------------------------------------


def forged(post: Post, kind: str) -> bytes:
    if kind == "cms-digest":
        return post.signed("Pay Alice.\n").replace(b"Pay Alice.", b"Pay Mally.")
    if kind == "signer-is-not-author":
        return post.signed(key=post.certificate(MALLORY))
    return post.signed(key=post.certificate(ALICE, "expired"))


@pytest.mark.parametrize("kind", ["cms-digest", "signer-is-not-author", "expired"])
@pytest.mark.parametrize("source", list(Source))
def test_forged_signature_is_rejected_with_its_reason_and_never_answered(
    desk: Desk, house: MailHouse, post: Post, kind: str, source: Source
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    taken = desk.take(forged(post, kind), source=source)
    assert (taken.disposition, taken.code, taken.tell) == (Disposition.REJECTED, kind, True)
    assert house.tasks(BOB) == []
    assert house.waiting(BOB) == ()
    assert house.letters() == []
    event = house.mail_events()[-1]
    assert (event["outcome"], event["code"], event["sender"]) == ("rejected", kind, ALICE)
    assert event["reason"]


def test_refused_mail_is_kept_where_nobody_else_has_it(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    raw = forged(post, "cms-digest")
    desk.take(raw, source=Source.SMTP)
    desk.take(raw + b"\r\n", source=Source.IMAP)
    assert not house.blobs.exists(ProjectId(BOB), digest_of(raw))
    raw = forged(post, "signer-is-not-author")
    desk.take(raw, source=Source.LMTP)
    assert house.blobs.read(ProjectId(BOB), digest_of(raw)) == raw


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x00" + plain(), "nul-byte"),
        (plain().replace(b"From: alice", b"From: eve@evil.example, alice"), "bad-from"),
        (b"From: eve@evil.example\r\n" + plain(), "duplicate-header"),
        (b"no header at all", "bad-part-header"),
        (plain().replace(b"\r\nTo", b"\nTo"), "bare-lf"),
        (
            head()
            + b"".join(
                b'Content-Type: multipart/mixed; boundary="b%02d"\r\n\r\n--b%02d\r\n' % (n, n)
                for n in range(40)
            )
            + b"\r\nx\r\n"
            + b"".join(b"--b%02d--\r\n" % n for n in reversed(range(40))),
            "too-deep",
        ),
    ],
    ids=["nul", "two-authors", "two-froms", "no-header", "bare-lf", "deep"],
)
def test_malformed_mail_is_rejected_with_the_rule_it_breaks(
    desk: Desk, house: MailHouse, raw: bytes, code: str
) -> None:
    taken = desk.take(raw)
    assert (taken.disposition, taken.code) == (Disposition.REJECTED, code)
    assert house.mail_events()[-1]["code"] == code
    assert house.commands[2:] == []


# -- lists, programs, caps ---------------------------------------------------------------


def test_blocked_sender_leaves_no_task_no_request_and_hears_nothing(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    block = Listing(list=ListName.BLOCK, kind=SenderKind.DOMAIN, value="sender.example")
    house.directory.contacts.put_on_list(BOB, block, house.clock())
    taken = desk.take(post.signed())
    assert (taken.disposition, taken.tell) == (Disposition.REJECTED, False)
    assert house.waiting(BOB) == ()
    assert house.letters() == []


def test_ignored_sender_is_taken_and_never_shown(desk: Desk, house: MailHouse, post: Post) -> None:
    listing = Listing(list=ListName.IGNORE, kind=SenderKind.ADDRESS, value=ALICE)
    house.directory.contacts.put_on_list(BOB, listing, house.clock())
    raw = post.signed()
    assert desk.take(raw).disposition is Disposition.DONE
    assert house.waiting(BOB) == ()
    assert house.blobs.exists(ProjectId(BOB), digest_of(raw))


@pytest.mark.parametrize(
    "extra",
    ["Auto-Submitted: auto-replied\r\n", "List-Id: <l.example>\r\n", "Precedence: bulk\r\n"],
)
def test_mail_of_programs_is_no_request(desk: Desk, house: MailHouse, extra: str) -> None:
    taken = desk.take(plain(extra=extra))
    assert (taken.disposition, taken.code) == (Disposition.REJECTED, "automatic")
    assert house.waiting(BOB) == ()


def test_signed_mail_of_an_allowed_program_is_a_task_without_an_answer(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    desk.take(post.signed(extra="Auto-Submitted: auto-generated\r\n"))
    assert len(house.tasks(BOB)) == 1
    assert house.letters() == []


def test_own_answer_that_comes_back_is_a_loop(desk: Desk, house: MailHouse, post: Post) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    desk.take(post.signed())
    [answer] = house.letters()
    taken = desk.take(answer)
    assert (taken.disposition, taken.code) == (Disposition.REJECTED, "loop")


def test_over_the_cap_a_server_is_asked_to_wait_and_a_mailbox_sets_aside(
    desk: Desk, house: MailHouse
) -> None:
    for number in range(20):
        assert desk.take(plain(f"{number}\n")).disposition is Disposition.DONE
    assert desk.take(plain("more\n")).disposition is Disposition.LATER
    late = desk.take(plain("more\n"), source=Source.IMAP)
    assert (late.disposition, late.code) == (Disposition.REJECTED, "over-cap")
    assert len(house.waiting(BOB)) == 20


def test_unknown_recipient_is_told_so(desk: Desk, house: MailHouse) -> None:
    taken = desk.take(plain(), recipient="nobody@home.example")
    assert taken.disposition is Disposition.UNKNOWN_RECIPIENT
    assert house.mail_events()[-1]["code"] == "unknown-recipient"


def test_disabled_user_is_unknown(desk: Desk, house: MailHouse) -> None:
    house.directory.people.disable(BOB, house.clock())
    assert desk.take(plain()).disposition is Disposition.UNKNOWN_RECIPIENT


# -- once --------------------------------------------------------------------------------


def test_same_mail_twice_is_one_task_and_one_answer(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    first = desk.take(raw)
    again = desk.take(b"Received: from another hop\r\n" + raw)
    assert (again.disposition, again.mail) == (Disposition.DONE, first.mail)
    assert len(house.tasks(BOB)) == 1
    assert len(house.letters()) == 1


def test_replay_under_another_message_id_is_the_same_task(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    desk.take(raw)
    replayed = raw.replace(b"Subject: Fence", b"Subject: Forged title").replace(
        b"@mail.sender.example>", b".x@mail.sender.example>"
    )
    assert desk.take(replayed).code == "replay"
    assert [task["description"] for task in house.tasks(BOB)] == ["Fence"]
    assert len(house.letters()) == 1


def test_other_bytes_under_a_known_message_id_wait_for_a_click(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    first = post.signed("One.\n")
    name = first.partition(b"Message-ID: <")[2].partition(b">")[0]
    second = post.signed("Two.\n")
    other = second.partition(b"Message-ID: <")[2].partition(b">")[0]
    desk.take(first)
    assert desk.take(second.replace(other, name)).code == "message-id-reused"
    assert len(house.tasks(BOB)) == 1
    assert len(house.waiting(BOB)) == 1


def test_crash_between_commit_and_record_makes_no_second_task(
    desk: Desk, house: MailHouse, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    with monkeypatch.context() as patch:
        patch.setattr(desk.intake, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.take(raw)
    assert len(house.tasks(BOB)) == 1
    assert desk.take(raw).disposition is Disposition.DONE
    assert len(house.tasks(BOB)) == 1
    assert len(house.letters()) == 1


def test_worker_that_is_busy_means_later_and_then_once(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    for failure in (
        Unavailable("queue-full", "the gateway is busy", retry=True),
        Refused(code="disk-full", reason="there is no room left", retry=True),
    ):
        house.fail_submit = failure
        assert desk.take(raw).disposition is Disposition.LATER
    house.fail_submit = None
    assert desk.take(raw).disposition is Disposition.DONE
    assert len(house.tasks(BOB)) == 1


# -- binding, freshness, keys ------------------------------------------------------------


def test_mail_to_somebody_else_forwarded_here_waits(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    assert desk.take(post.signed(to="carol@elsewhere.example")).code == "unbound"
    assert house.tasks(BOB) == []


@pytest.mark.parametrize("days", [15, -1])
def test_mail_signed_long_ago_or_in_the_future_waits(
    desk: Desk, house: MailHouse, post: Post, days: int
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    house.ahead = timedelta(days=days)
    assert desk.take(post.signed()).code == "stale"
    assert house.tasks(BOB) == []


def test_contact_with_another_key_is_unknown_until_confirmed(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED, pin=post.certificate(ALICE, "stranger"))
    assert desk.take(post.signed()).code == "key-changed"
    assert house.tasks(BOB) == []
    [request] = house.waiting(BOB)
    assert request.sender == ALICE


# -- projects ----------------------------------------------------------------------------


@pytest.mark.parametrize("detail", [TEAM.partition("@")[0], "garden-work"])
def test_member_writes_into_the_project_that_the_address_names(
    desk: Desk, house: MailHouse, post: Post, detail: str
) -> None:
    team(house, alice=Role.MEMBER)
    to = f"bob+{detail}@home.example"
    assert desk.take(post.signed(to=to), recipient=to).code == "member"
    [task] = house.tasks(TEAM)
    assert "requester" not in task
    command = house.commands[-1]
    assert isinstance(command, CreateTask)
    assert command.actor.user == ALICE


def test_guest_may_not_create_and_becomes_a_request(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    team(house, alice=Role.GUEST)
    to = "bob+garden-work@home.example"
    assert desk.take(post.signed(to=to), recipient=to).code == "unknown"
    assert house.tasks(TEAM) == []
    assert house.waiting(BOB)[0].project_hint == TEAM


def test_allowed_contact_writes_as_the_recipient_into_the_named_project(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    team(house)
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    to = "bob+garden-work@home.example"
    desk.take(post.signed(to=to), recipient=to)
    [task] = house.tasks(TEAM)
    assert task["requester"] == ALICE


def test_signed_mail_cannot_be_turned_to_another_project(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    team(house, alice=Role.MEMBER)
    raw = post.signed(to=BOB)
    assert desk.take(raw, recipient="bob+garden-work@home.example").code == "unbound"
    assert house.tasks(TEAM) == []


def test_unknown_project_means_the_default_list(desk: Desk, house: MailHouse, post: Post) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    to = "bob+nowhere@home.example"
    assert desk.take(post.signed(to=to), recipient=to).code == "allowed"
    assert len(house.tasks(BOB)) == 1


def test_one_mail_to_two_members_of_a_project_is_one_task(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    team(house, alice=Role.MEMBER)
    actor = Actor(user=BOB, via=Via.CALDAV)
    house.submit(SetMember(actor=actor, project=TEAM, user=TASKS, role=Role.MEMBER)).result()
    both = ["bob+garden-work@home.example", "tasks+garden-work@home.example"]
    raw = post.signed(to=", ".join(both))
    for one in both:
        assert desk.take(raw, recipient=one).code == "member"
    assert len(house.tasks(TEAM)) == 1


# -- answers -----------------------------------------------------------------------------


def test_acknowledgement_says_what_was_understood_and_cannot_be_answered(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed("Due: someday\nPriority: low\n\nSecret text.\n", subject="Zaun streichen ü")
    desk.take(raw)
    [answer] = house.letters()
    header, _, body = answer.partition(b"\r\n\r\n")
    assert b"To: alice@sender.example\r\n" in header
    assert b"Auto-Submitted: auto-replied" in header
    assert b"X-Auto-Response-Suppress: All" in header
    name = raw.partition(b"Message-ID: ")[2].partition(b"\r\n")[0]
    assert b"In-Reply-To: " + name in header
    assert b"Priority: low" in body
    assert b"Due: someday" in body
    assert b"Secret text" not in body


def test_answers_to_one_address_are_capped(house: MailHouse, post: Post) -> None:
    desk = Desk(house, post.anchors, IntakeSettings(answers_hourly=2))
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    for number in range(4):
        desk.take(post.signed(f"{number}\n"))
    assert len(house.tasks(BOB)) == 4
    assert len(house.letters()) == 2


def test_sender_may_ask_for_no_answer(desk: Desk, house: MailHouse, post: Post) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    desk.take(post.signed(extra="X-Auto-Response-Suppress: All\r\n"))
    assert house.letters() == []


def test_request_of_a_known_sender_is_announced_to_the_recipient_alone(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.KNOWN)
    desk.take(post.signed())
    heads = sorted(one.partition(b"\r\n\r\n")[0] for one in house.letters())
    assert [b"To: bob@home.example" in one for one in heads].count(True) == 1
    assert [b"To: alice@sender.example" in one for one in heads].count(True) == 1


def test_large_mail_fits_into_a_request(desk: Desk, house: MailHouse, post: Post) -> None:
    raw = post.signed("ü" * 70 + "\n" + "long line\n" * 9000)
    assert desk.take(raw).code == "unknown"
    assert len(house.waiting(BOB)) == 1
