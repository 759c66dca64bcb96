"""One heap arena for all threads, told by glibc itself."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from bridge import heap
if sys.argv[1] == "lean":
    heap.keep_lean()
together = threading.Barrier(8)
def work():
    together.wait()
    held = [bytearray(200_000) for _ in range(20)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(how: str) -> int:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not on glibc")
def test_threads_share_one_arena_once_the_heap_is_kept_lean() -> None:
    assert arenas("lean") == 1
    assert arenas("plain") > 1
