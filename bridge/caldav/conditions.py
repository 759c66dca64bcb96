"""Conditional requests: If-Match and If-None-Match (RFC 9110 section 13.1).

Comparison is strong: a weak ETag in If-Match matches nothing, because ours are all strong
and a client that got one marked weak got it from somebody else. What cannot be parsed is
kept as a tag that matches nothing (Thunderbird probes with ``If-Match: nothing``).
"""

from __future__ import annotations

import re

from bridge.worker.command import Expect

_TAG = re.compile(r'\s*((?:W/)?"[^"]*"|[^\s,"]+)\s*(?:,|\Z)')
TAGS_MAX = 100
"""More tags than this in one header are not looked at."""


def tags(header: str) -> tuple[str, ...]:
    """Return the entity tags of a list header, quotes included; ``*`` stands alone."""
    found: list[str] = []
    at = 0
    while at < len(header) and len(found) < TAGS_MAX:
        match = _TAG.match(header, at)
        if match is None:
            found.append(header[at:])
            break
        found.append(match[1])
        at = match.end()
    return tuple(found)


def expectation(if_match: str | None, if_none_match: str | None) -> Expect:
    """Return what a writing request expects; the worker checks it with the write."""
    etags = tags(if_match) if if_match is not None else ()
    absent = if_none_match is not None and "*" in tags(if_none_match)
    return Expect(etags=etags, absent=absent)


def unmodified(if_none_match: str | None, etag: str) -> bool:
    """Tell whether a GET may be answered 304: weak comparison (RFC 9110 section 13.1.2)."""
    if if_none_match is None:
        return False
    found = tags(if_none_match)
    return "*" in found or etag in {tag.removeprefix("W/") for tag in found}


def holds(expect: Expect, etag: str | None) -> bool:
    """Tell whether `expect` is true of a resource; `etag` None means there is none."""
    if expect.absent and etag is not None:
        return False
    return not expect.etags or (etag is not None and bool({"*", etag} & set(expect.etags)))
