"""Open files, at most a fixed number of them: 1,000 projects cost no open files.

A descriptor in use is never closed, since its number would at once belong to another
file and a write meant for one log would reach another.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Open:
    fd: int
    users: int = 0
    forgotten: bool = False


class OpenFiles:
    """Descriptors by path, the least recently used closed first."""

    def __init__(self, capacity: int = 128) -> None:
        """Keep up to `capacity` descriptors open while nobody uses them."""
        self._capacity = capacity
        self._files: OrderedDict[tuple[str, int], _Open] = OrderedDict()
        # Held for dictionary work only, except that a first open of a file waits in it.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._files)

    @contextmanager
    def lease(self, path: str, flags: int) -> Iterator[int]:
        """Hand out a descriptor of the existing file `path`; use positioned reads only.

        Args:
            path: absolute.
            flags: `READ` or `APPEND`.

        Raises:
            OSError: it cannot be opened.
        """
        key = (path, flags)
        with self._lock:
            file = self._files.get(key)
            if file is None:
                file = self._files[key] = _Open(os.open(path, flags))
            else:
                self._files.move_to_end(key)
            file.users += 1
            if len(self._files) > self._capacity:
                self._shrink()
        try:
            yield file.fd
        finally:
            with self._lock:
                file.users -= 1
                if file.forgotten and not file.users:
                    os.close(file.fd)

    def forget(self, path: str) -> None:
        """Close what is open of `path`: it was removed or will be replaced."""
        with self._lock:
            for flags in (READ, APPEND):
                file = self._files.pop((path, flags), None)
                if file is not None:
                    self._drop(file)

    def close(self) -> None:
        """Close everything; those in use when their user is done."""
        with self._lock:
            while self._files:
                self._drop(self._files.popitem()[1])

    def _shrink(self) -> None:
        idle = [key for key, file in self._files.items() if not file.users]
        for key in idle[: len(self._files) - self._capacity]:
            self._drop(self._files.pop(key))

    @staticmethod
    def _drop(file: _Open) -> None:
        if file.users:
            file.forgotten = True
        else:
            os.close(file.fd)
