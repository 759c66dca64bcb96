"""Bad mail over real SMTP, LMTP and IMAP: the right answer, a reason in the log, no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from journeys.gatewaykit import ALICE, BOB, Gateway, until
from mailkit import head, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkit import Bed, Post

pytestmark = pytest.mark.journey

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, session_bed: Bed, post: Post
) -> Iterator[Gateway]:
    """Return a gateway that listens for mail and fetches Bob's mailbox."""
    for user in (BOB, ALICE):
        session_bed.empty(user)
    gateway = Gateway(tmp_path_factory.mktemp("desk"))
    gateway.add_user(BOB)
    gateway.trust(post)
    gateway.fetch_from(session_bed, BOB)
    gateway.run("contact", "add", BOB, ALICE)
    with gateway.serving():
        yield gateway
        gateway.check()
        # Whatever came: nobody was ever answered for it.
        assert session_bed.mails("INBOX", ALICE) == []
    gateway.close()


@pytest.fixture(autouse=True)
def nothing_made(desk: Gateway) -> Iterator[None]:
    """No bad mail makes a task, a request or anything else in the project's log."""
    before = desk.told()
    yield
    assert desk.told() == before
    assert desk.json("request", "list", BOB) == []


def last_mail(desk: Gateway) -> Any:
    """Return the newest event about a mail."""
    found = desk.events("mail")
    return found[-1] if found else None


def by_smtp(desk: Gateway, raw: bytes, to: str = BOB) -> tuple[int, bytes]:
    """Deliver by SMTP without announcing the size; return the answer."""
    with desk.smtp() as client:
        client.ehlo()
        client.mail(ALICE)
        code, said = client.rcpt(to)
        return (code, said) if code != 250 else client.data(raw)


def by_lmtp(desk: Gateway, raw: bytes) -> None:
    """Deliver by LMTP, which must be taken: a bounce would go to a forged sender."""
    with desk.lmtp() as client:
        assert client.sendmail(ALICE, [BOB], raw) == {}


def huge(size: int = 30 * MIB) -> bytes:
    """Return a mail with an attachment of `size` bytes in lines of 76."""
    line = b"A" * 76 + b"\r\n"
    return (
        head(subject="Huge")
        + b'Content-Type: application/octet-stream; name="a.bin"\r\n'
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + line * (size // len(line))
    )


def nested(depth: int = 50) -> bytes:
    """Return a mail whose parts lie in each other `depth` deep."""
    opening = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d.b"\r\n\r\n--%d.b\r\n' % (level, level)
        for level in range(depth)
    )
    closing = b"".join(b"\r\n--%d.b--" % level for level in reversed(range(depth)))
    bottom = b"Content-Type: text/plain\r\n\r\nbottom"
    return head(subject="Deep") + opening + bottom + closing + b"\r\n"


# -- too large ---------------------------------------------------------------------------


def test_a_mail_of_30_mib_is_refused_before_and_after_its_text(desk: Gateway) -> None:
    with desk.smtp() as client:
        client.ehlo()
        code, _ = client.docmd(f"MAIL FROM:<{ALICE}> SIZE={30 * MIB}")
        assert code == 552
    count = len(desk.events("mail"))
    code, said = by_smtp(desk, huge())
    assert code == 552
    assert b"5.3.4" in said
    event = last_mail(desk)
    assert len(desk.events("mail")) == count + 1, "the event log has no reason"
    assert (event["outcome"], event["code"], event["recipient"]) == ("rejected", "too-large", BOB)
    assert not list(desk.layout.store.glob("*/*/blobs/*/*"))


def test_a_mail_of_30_mib_in_the_mailbox_is_set_aside(desk: Gateway, session_bed: Bed) -> None:
    session_bed.append([huge()], BOB)
    until(lambda: len(session_bed.mails("Rejected", BOB)) == 1, "the mail is set aside")
    assert session_bed.mails("INBOX", BOB) == []
    event = last_mail(desk)
    assert (event["outcome"], event["code"], event["door"]) == ("rejected", "too-large", "imap")
    assert event["reason"]
    session_bed.empty(BOB)


# -- shapes and loops --------------------------------------------------------------------

LOOPS = {
    "own Message-ID": plain(subject="Loop").replace(
        b"@mail.sender.example>", b".answer@tx-bridge.home.example>"
    ),
    "loop header": plain(subject="Loop", extra="X-Tx-Bridge-Loop: 0\r\n"),
}


def test_deep_nesting_is_refused(desk: Gateway) -> None:
    code, said = by_smtp(desk, nested())
    assert 500 <= code < 600
    assert b"nested" in said
    event = last_mail(desk)
    assert (event["outcome"], event["code"]) == ("rejected", "too-deep")
    by_lmtp(desk, nested(51))
    assert (last_mail(desk)["door"], last_mail(desk)["code"]) == ("lmtp", "too-deep")


@pytest.mark.parametrize("name", LOOPS)
def test_a_mail_of_our_own_that_comes_back_ends_here(desk: Gateway, name: str) -> None:
    raw = LOOPS[name]
    code, said = by_smtp(desk, raw)
    assert code == 554
    assert b"5.4.6" in said
    event = last_mail(desk)
    assert (event["outcome"], event["code"]) == ("rejected", "loop")
    assert event["reason"]


def test_bad_mails_in_the_mailbox_are_set_aside_each_with_its_reason(
    desk: Gateway, session_bed: Bed, post: Post
) -> None:
    loop = plain(subject="Loop", extra="X-Tx-Bridge-Loop: 1\r\n")
    forged = post.signed("Pay me.\n").replace(b"Pay me.", b"Pay ME.")
    expired = post.signed("Late.\n", key=post.certificate(ALICE, "expired"))
    other = post.signed("Not me.\n", key=post.certificate("mallory@evil.example"))
    session_bed.append([loop, nested(52), forged, expired, other], BOB)
    until(lambda: len(session_bed.mails("Rejected", BOB)) == 5, "all are set aside")
    assert session_bed.mails("INBOX", BOB) == []
    assert session_bed.mails("Processed", BOB) == []
    found = {str(one["code"]) for one in desk.events("mail")[-5:]}
    assert found == {"loop", "too-deep", "cms-digest", "expired", "signer-is-not-author"}
    assert all(one["reason"] for one in desk.events("mail")[-5:])
    session_bed.empty(BOB)


def test_a_refused_mail_that_comes_again_is_refused_again(desk: Gateway, post: Post) -> None:
    forged = post.signed("Pay you.\n").replace(b"Pay you.", b"Pay YOU.")
    first, again = by_smtp(desk, forged), by_smtp(desk, forged)
    assert first == again
    assert first[0] == 554
    count = sum(one.get("code") == "cms-digest" for one in desk.events("mail"))
    by_smtp(desk, forged)
    # It is one mail, so it has one outcome.
    assert sum(one.get("code") == "cms-digest" for one in desk.events("mail")) == count


# -- envelopes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "to",
    [
        "nobody@home.example",
        "bob@elsewhere.example",
        '"../../etc/passwd"@home.example',
        "bob%elsewhere.example@home.example",
    ],
)
def test_an_unknown_recipient_is_refused_by_name(desk: Gateway, to: str) -> None:
    count = len(desk.events("mail"))
    with desk.smtp() as client:
        client.ehlo()
        client.mail(ALICE)
        code, _ = client.docmd(f"RCPT TO:<{to}>")
        assert code == 550, "nothing is relayed"
        assert client.docmd("DATA")[0] == 503
    assert len(desk.events("mail")) == count + 1, "the event log has no reason"
    event = last_mail(desk)
    assert event["code"] == "unknown-recipient"
    assert event["recipient"] == to.replace('"', "")


def test_the_known_one_of_two_recipients_gets_the_mail(desk: Gateway) -> None:
    loop = plain(subject="Both", extra="X-Tx-Bridge-Loop: 2\r\n")
    with desk.lmtp() as client:
        refused = client.sendmail(ALICE, [BOB, "nobody@home.example"], loop)
    assert set(refused) == {"nobody@home.example"}
    assert refused["nobody@home.example"][0] == 550
    assert last_mail(desk)["code"] in ("loop", "unknown-recipient")


def test_a_client_that_hangs_up_in_its_text_leaves_nothing(desk: Gateway) -> None:
    count = len(desk.events("mail"))
    client = desk.smtp()
    client.ehlo()
    client.mail(ALICE)
    client.rcpt(BOB)
    client.docmd("DATA")
    client.send(plain(subject="Half a mail")[:-10])
    client.close()
    with desk.smtp() as other:
        assert other.noop()[0] == 250
    assert len(desk.events("mail")) == count


def test_a_line_without_end_is_refused_and_the_listener_serves_on(desk: Gateway) -> None:
    code, said = by_smtp(desk, head() + b"Subject: " + b"x" * 200_000 + b"\r\n\r\n")
    assert (code, said[:5]) == (500, b"5.5.2")
    assert last_mail(desk)["code"] == "line-too-long"
    with desk.smtp() as client:
        client.ehlo()
        assert client.docmd("X" * 5000)[0] == 500
    with desk.dav() as dav:
        assert dav("GET", "/readyz").body == b"ready\n"
