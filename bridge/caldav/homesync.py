"""sync-collection of a home: which lists came, changed or went (RFC 6578 section 3.3).

A list counts as changed when its own token moves or when its user's stored properties (colour,
order) do. The token holds what its reader was told, packed: nothing is kept here for it, it
never expires, and what somebody makes up changes only what that user is told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav import requestxml
from bridge.caldav.multistatus import (
    dav,
    element,
    error_element,
    multistatus,
    quoted,
    status_response,
)
from bridge.caldav.properties import collection_response
from bridge.caldav.segments import is_segment
from bridge.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from xml.etree.ElementTree import Element

    from bridge.caldav.collection import Collection
    from bridge.caldav.properties import Frame

    Dead = Callable[[Collection], dict[str, str]]

TOKEN: Final = "urn:tx-bridge:home"  # noqa: S105 - a URI, no secret
LISTS_MAX: Final = 1000
"""Lists that a token can hold; a home with more of them gives none."""
_TOKEN_MAX: Final = 128 * 1024
_PACKED_MAX: Final = 1024 * 1024
_STATE: Final = 8


def token(lists: Iterable[Collection], dead: Dead) -> str | None:
    """Return the sync token of a home as it is; None where it has too many lists."""
    return _packed(_states(lists, dead))


def report(root: Element, shown: Iterable[Collection], frame: Frame, *, minimal: bool) -> bytes:
    """Return the 207 body of a sync-collection on the home.

    Raises:
        Invalid: ``valid-sync-token``, ``sync-traversal-supported``, ``supported-report``.
    """
    if (root.findtext(dav("sync-level")) or "").strip().lower() == "infinite":
        raise Invalid("sync-traversal-supported", "ask each list for its tasks")
    wanted = requestxml.sync(root)
    told = _unpacked(wanted.token)
    lists = {each.segment: each for each in shown}
    now = _states(lists.values(), frame.dead)
    changed = [
        name for name in (*now, *(told.keys() - now.keys())) if told.get(name) != now.get(name)
    ]
    most = wanted.limit if wanted.limit is not None else len(changed)
    for name in changed[:most]:
        if name in now:
            told[name] = now[name]
        else:
            del told[name]
    answers = []
    for name in changed[:most]:
        collection = lists.get(name)
        if collection is None:
            path = f"{frame.principal(frame.user)}{quoted(name)}/"
            answers.append(status_response(path, HTTPStatus.NOT_FOUND))
        else:
            answers.append(collection_response(collection, frame, wanted.asked, minimal=minimal))
    if changed[most:]:
        condition = error_element(element(dav("number-of-matches-within-limits")))
        path = frame.principal(frame.user)
        answers.append(status_response(path, HTTPStatus.INSUFFICIENT_STORAGE, condition))
    after = _packed(told)
    if after is None:
        raise Invalid("supported-report", "this home has too many lists for one token")
    return multistatus(answers, element(dav("sync-token"), after))


def _states(lists: Iterable[Collection], dead: Dead) -> dict[str, str]:
    """Return the name of each list with a short mark of its state."""
    found: dict[str, str] = {}
    for each in lists:
        own = json.dumps(dead(each), sort_keys=True)
        digest = hashlib.sha256(f"{each.project}\n{each.sync_token}\n{own}".encode())
        found[each.segment] = digest.hexdigest()[:_STATE]
    return found


def _packed(states: Mapping[str, str]) -> str | None:
    if len(states) > LISTS_MAX:
        return None
    plain = json.dumps(states, sort_keys=True, separators=(",", ":")).encode()
    return f"{TOKEN}:{base64.urlsafe_b64encode(zlib.compress(plain, 9)).decode()}"


def _unpacked(text: str) -> dict[str, str]:
    """Return what the reader of a token was told; nothing for an empty token."""
    if not text:
        return {}
    head, _, packed = text.rpartition(":")
    wrong = Invalid("valid-sync-token", "this home never gave out that token")
    if head != TOKEN or len(packed) > _TOKEN_MAX:
        raise wrong
    try:
        opener = zlib.decompressobj()
        plain = opener.decompress(base64.b64decode(packed, b"-_", validate=True), _PACKED_MAX)
        states = json.loads(plain)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise wrong from None
    if not opener.eof or not isinstance(states, dict) or len(states) > LISTS_MAX:
        raise wrong
    if not all(is_segment(k) and isinstance(v, str) for k, v in states.items()):
        raise wrong
    return states
