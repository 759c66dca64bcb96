"""The spool: where everything of one domain lies on disk (tx-protocol section 20).

`Layout` only computes paths; names from the network reach it as checked ids, and every
result is still asserted to lie within the domain's directory. `Spool` makes the
directories, keeps the members' links and holds the lock that makes one process the writer.

Modes: directories 0750, ``_keys`` 0700, files 0640.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bridge.errors import Corrupt, Invalid, Unavailable
from bridge.model.ids import domain_of
from bridge.store.durable import DIRECTORY_MODE, TEMPORARY, disk_error, make_directory, write_all

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from bridge.model.ids import Address, Domain, ProjectId

KEYS_MODE = 0o700
_LOCK_MODE = 0o640
_NAME_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Paths of one domain in a spool.

    Attributes:
        root: the spool, absolute, ``/var/spool/tasks`` by default.
        domain: whose part of it.
    """

    root: Path
    domain: Domain

    @property
    def home(self) -> Path:
        """Return the domain's directory; all other paths lie below it."""
        return _below(self.root, self.domain)

    @property
    def store(self) -> Path:
        """Return the directory of all containers; no address, since it has no @."""
        return self.home / "_store"

    @property
    def keys(self) -> Path:
        """Return the directory of private keys."""
        return self.home / "_keys"

    @property
    def events(self) -> Path:
        """Return the directory of the event log."""
        return self.home / "_events"

    @property
    def lock(self) -> Path:
        """Return the file that the writing process locks."""
        return self.home / "_lock"

    @property
    def index(self) -> Path:
        """Return the SQLite index, which may be deleted at any time."""
        return self.home / "index.sqlite3"

    @property
    def directory(self) -> Path:
        """Return the SQLite directory: users, contacts, requests."""
        return self.home / "directory.sqlite3"

    def container(self, project: ProjectId) -> Path:
        """Return the project's container: the one real copy on this domain.

        Raises:
            Invalid: ``bad-project``: not a checked id.
        """
        return _below(self.store, *_parts(project))

    def log(self, project: ProjectId) -> Path:
        """Return the directory of log segments."""
        return self.container(project) / "log"

    def blobs(self, project: ProjectId) -> Path:
        """Return the directory of attachments."""
        return self.container(project) / "blobs"

    def snapshots(self, project: ProjectId) -> Path:
        """Return the directory of snapshots."""
        return self.container(project) / "snapshots"

    def requests(self, project: ProjectId) -> Path:
        """Return the directory of received and sent requests."""
        return self.container(project) / "requests"

    def pending(self, project: ProjectId) -> Path:
        """Return a replica's file of own patches that are not in the log yet."""
        return self.container(project) / "pending.jsonl"

    def member(self, address: Address, project: ProjectId) -> Path:
        """Return where a member finds the project: a link, or filtered views.

        Raises:
            Invalid: ``bad-address`` or ``bad-project``.
        """
        if "@" not in address:
            raise Invalid("bad-address", "this is not an e-mail address")
        return _below(self.home, address, "projects", *_parts(project))


def _parts(project: ProjectId) -> tuple[str, str]:
    unique, at, _domain = project.rpartition("@")
    if not at:
        raise Invalid("bad-project", "this is not a project id")
    return domain_of(project), unique


def _below(top: Path, *names: str) -> Path:
    """Return ``top/name/name``, each name being one plain path part.

    The ids were checked where they were parsed; this is the second look that a path gets.
    """
    for name in names:
        plain = name not in {"", ".", ".."} and "/" not in name and "\0" not in name
        if not plain or len(os.fsencode(name)) > _NAME_MAX:
            raise Invalid("bad-name", "this name cannot be kept on disk")
    path = top.joinpath(*names)
    if not path.is_relative_to(top):
        raise Invalid("bad-name", "this name cannot be kept on disk")
    return path


class SpoolLock:
    """The right to write: held by one process for each domain of a spool.

    The system drops it when the process ends, however it ends, so there is nothing to clean
    up. A forked child shares it: start helpers by exec (Python closes the descriptor there).
    """

    def __init__(self, layout: Layout) -> None:
        """Take the lock at once.

        Raises:
            Unavailable: ``spool-locked``; `fields` name the ``pid`` of the holder.
        """
        self.home = layout.home
        make_directory(layout.home)
        self._fd: int | None = os.open(
            layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _LOCK_MODE
        )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            self._close()
            raise _locked(layout, holder) from None
        os.ftruncate(self._fd, 0)
        write_all(self._fd, f"{os.getpid()}\n".encode())

    @property
    def held(self) -> bool:
        """Return whether this object still holds the lock."""
        return self._fd is not None

    def release(self) -> None:
        """Give the lock up; doing so twice is fine."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            self._close()

    def __enter__(self) -> Self:
        """Return itself: the lock is held since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()

    def _close(self) -> None:
        # The file stays: removing it would let two processes lock two files of that name.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _locked(layout: Layout, holder: str) -> Unavailable:
    process = f"process {holder}" if holder.isdigit() else "another process"
    return Unavailable(
        "spool-locked",
        f"the spool of {layout.domain} is in use by {process}",
        retry=True,
        hint=(
            f"let the running gateway do it, or stop {process} first"
            " (no file needs to be removed: the lock ends with its process)"
        ),
        pid=int(holder) if holder.isdigit() else None,
        lock=str(layout.lock),
    )


class Spool:
    """The directories and links of one domain; for the process that holds the lock."""

    def __init__(self, layout: Layout) -> None:
        """Work on `layout`; nothing is touched yet."""
        self.layout = layout

    def create(self) -> None:
        """Make the domain's directories; those that exist stay, but ``_keys`` is closed.

        Raises:
            Unavailable: ``disk-full`` or ``disk-error``.
        """
        layout = self.layout
        try:
            make_directory(layout.store)
            make_directory(layout.events)
            make_directory(layout.keys, KEYS_MODE)
            if layout.keys.stat().st_mode & 0o777 != KEYS_MODE:
                layout.keys.chmod(KEYS_MODE)
        except OSError as error:
            raise disk_error(error, layout.home) from error

    def link_member(self, address: Address, project: ProjectId) -> bool:
        """Let `address` find the container below their own directory, by a relative link.

        Returns:
            False when the link was there already.

        Raises:
            Corrupt: ``not-a-link``: something else has that name; it is left alone.
            Unavailable: ``disk-full`` or ``disk-error``.
        """
        link = self.layout.member(address, project)
        target = os.path.relpath(self.layout.container(project), link.parent)
        try:
            make_directory(link.parent, DIRECTORY_MODE)
            if link.is_symlink() and str(link.readlink()) == target:
                return False
            if link.exists() and not link.is_symlink():
                raise _not_a_link(link)
            # By way of a second name, so that a wrong link is never simply absent.
            beside = link.with_name(TEMPORARY + link.name[: _NAME_MAX - len(TEMPORARY)])
            beside.unlink(missing_ok=True)
            beside.symlink_to(target, target_is_directory=True)
            beside.replace(link)
        except OSError as error:
            raise disk_error(error, link) from error
        return True

    def unlink_member(self, address: Address, project: ProjectId) -> bool:
        """Remove the link; the container stays.

        Returns:
            False when there was none.

        Raises:
            Corrupt: ``not-a-link``: something else has that name; it is left alone.
            Unavailable: ``disk-error``.
        """
        link = self.layout.member(address, project)
        try:
            if link.is_symlink():
                link.unlink()
                return True
            if link.exists():
                raise _not_a_link(link)
        except OSError as error:
            raise disk_error(error, link) from error
        return False


def _not_a_link(path: Path) -> Corrupt:
    return Corrupt(
        "not-a-link",
        "something that is not a link stands where a member's link belongs",
        hint="move it away by hand",
        path=str(path),
    )
