"""Mail that arrives at an awkward moment is seen soon, not at the next poll."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from mailkit import TASKS, plain

from bridge.mail.mailbox import Mailbox, MailboxSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mailkit import Bed

pytestmark = pytest.mark.journey


@asynccontextmanager
async def opened(bed: Bed) -> AsyncIterator[Mailbox]:
    secret = "secret"  # noqa: S105 - the test bed's
    mailbox = await Mailbox.open(
        MailboxSettings(host="127.0.0.1", port=bed.imap, tls=False, user=TASKS, password=secret)
    )
    try:
        yield mailbox
    finally:
        await mailbox.close()


def test_mail_that_arrives_just_before_a_search_is_seen_at_once(bed: Bed) -> None:
    # Dovecot searches what it has told of, then tells of the new mail, and IDLE says nothing.
    async def look() -> float:
        async with opened(bed) as mailbox:
            await asyncio.to_thread(bed.append, [plain(to=TASKS)])
            assert await mailbox.search() == []
            began = time.monotonic()
            await mailbox.wait(20)
            assert len(await mailbox.search()) == 1
            return time.monotonic() - began

    assert asyncio.run(look()) < 5


def test_a_quiet_mailbox_is_not_asked_again_and_again(bed: Bed) -> None:
    async def look() -> float:
        async with opened(bed) as mailbox:
            # What was done to the mailbox before may still be told of for a while.
            longest = 0.0
            for _ in range(10):
                await mailbox.search()
                began = time.monotonic()
                await mailbox.wait(2)
                longest = max(longest, time.monotonic() - began)
                if longest > 1.9:
                    break
            return longest

    assert asyncio.run(look()) > 1.9
