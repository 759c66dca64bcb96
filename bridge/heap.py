"""How the process's heap grows: one arena for all threads, large blocks given back.

glibc gives each thread an arena of its own, and what a thread freed there no other gets:
sixteen threads that each wrote one answer of 10 MB held 400 MB for good. Python's lock lets
one thread run at a time anyway, so one arena costs nothing.
"""

from __future__ import annotations

import ctypes
from typing import Final

_MIB: Final = 1024 * 1024
# From glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def keep_lean() -> None:
    """Set this up for the process, before it starts threads; without glibc it does nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _MIB)
    mallopt(_M_TRIM_THRESHOLD, 8 * _MIB)
