"""What a client prefers of an answer: Prefer (RFC 7240, RFC 8144) and Microsoft's Brief.

Pure; what the preferences do is in `bridge.caldav.heeding`, and wherever 404 propstats are
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MINIMAL: Final = "return=minimal"
REPRESENTATION: Final = "return=representation"
NO_ROOT: Final = "depth-noroot"
_TOKENS_MAX: Final = 50


def preferred(headers: Mapping[str, str]) -> frozenset[str]:
    """Return the preferences of a request, ``name`` or ``name=value``, in lower case.

    Of a preference said twice the first counts (RFC 7240 section 2).
    """
    found: dict[str, str] = {}
    for part in headers.get("prefer", "").split(",", _TOKENS_MAX)[:_TOKENS_MAX]:
        name, _, value = part.partition(";")[0].strip().lower().partition("=")
        name, value = name.strip(), value.strip().strip('"')
        found.setdefault(name, f"{name}={value}" if value else name)
    if headers.get("brief", "").strip().lower() == "t":
        found.setdefault("return", MINIMAL)
    return frozenset(found.values())
