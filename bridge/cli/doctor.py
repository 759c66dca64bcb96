"""``tx-bridge doctor``: one line for each thing that must be right, and what to do if not."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

import click
from cryptography import x509

from bridge import app
from bridge.cli import probe
from bridge.cli.session import config_file, settings
from bridge.cli.shape import Command, json_option
from bridge.cli.speech import advise, document, say
from bridge.config import DEFAULT_FILE
from bridge.errors import BridgeError, Misconfigured, Unavailable
from bridge.mail.door import load_anchors
from bridge.settings import SECRETS
from bridge.store.directory import open_directory, open_url
from bridge.store.durable import Reserve
from bridge.store.index import Index
from bridge.store.index_engine import open_index_file, open_index_url
from bridge.store.logreader import FileLogReader
from bridge.store.spool import SpoolLock
from bridge.trust.anchors import LIBRARY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.config import Config
    from bridge.store.spool import Layout

_LOW: Final = 4
"""So many times the reserve should be free."""
_SOON_DAYS: Final = 30
_OTHERS: Final = 0o077
_WORLD: Final = 0o007


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line."""

    name: str
    state: State
    sentence: str
    hint: str = ""


def ok(name: str, sentence: str) -> Check:
    """Return what is as it should be."""
    return Check(name=name, state=State.OK, sentence=sentence)


def warn(name: str, sentence: str, hint: str = "") -> Check:
    """Return what works, but somebody should look at it."""
    return Check(name=name, state=State.WARN, sentence=sentence, hint=hint)


def bad(name: str, sentence: str, hint: str = "") -> Check:
    """Return what does not work."""
    return Check(name=name, state=State.FAIL, sentence=sentence, hint=hint)


@click.command(cls=Command)
@click.option("--offline", is_flag=True, help="Do not connect to mail servers.")
@json_option
def doctor(offline: bool, as_json: bool) -> None:
    """Check configuration, spool, key, gateway, index, disk, clock, mail, certificates.

    One line each: ok, warn or fail. Exits with 1 if anything failed.
    """
    found = list(_all(offline=offline))
    if as_json:
        document(
            [
                {"check": one.name, "state": one.state, "sentence": one.sentence, "hint": one.hint}
                for one in found
            ]
        )
    else:
        for one in found:
            say(f"{one.state:<4}  {one.name:<14} {one.sentence}")
            if one.hint:
                advise(f"{one.name}: {one.hint}")
    if any(one.state is State.FAIL for one in found):
        click.get_current_context().exit(1)


def _all(*, offline: bool) -> Iterator[Check]:
    file = config_file() or DEFAULT_FILE
    try:
        config = settings()
    except Misconfigured as error:
        yield bad("configuration", error.public, error.hint)
        return
    yield _configuration(file)
    layout = app.layout_of(config)
    if not layout.store.is_dir():
        yield bad("spool", f"there is no spool in {layout.home}", "run tx-bridge init")
        return
    yield _spool(layout)
    yield _key(config)
    running, check = _gateway(config, layout)
    yield check
    if running:
        yield _http(config)
    yield _plugin()
    yield _users(config, layout)
    yield from _index_and_clock(config, layout)
    yield _disk(config, layout)
    yield from _certificates(config)
    yield from _mail(config, running=running, offline=offline)


def _configuration(file: Path) -> Check:
    name = "configuration"
    if not file.is_file():
        return ok(name, "from the environment alone")
    mode = file.stat().st_mode
    text = file.read_text(encoding="utf-8")
    secret = any(line.split("=")[0].strip() in SECRETS for line in text.splitlines())
    if secret and mode & _WORLD:
        return warn(name, f"{file} holds a password and everybody can read it", f"chmod o= {file}")
    return ok(name, str(file))


def _spool(layout: Layout) -> Check:
    for path in (layout.home, layout.store, layout.events, layout.keys):
        if not path.is_dir():
            return bad("spool", f"{path} is missing", "run tx-bridge init")
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return bad("spool", f"this user may not write {path}", "run as the gateway's user")
    if stat.S_IMODE(layout.keys.stat().st_mode) & _OTHERS:
        return bad("spool", f"others can look into {layout.keys}", f"chmod 700 {layout.keys}")
    if layout.home.stat().st_mode & _WORLD:
        return warn("spool", f"everybody can look into {layout.home}", f"chmod o= {layout.home}")
    return ok("spool", str(layout.home))


def _key(config: Config) -> Check:
    try:
        key = app.load_key(config)
    except BridgeError as error:
        return bad("key", error.public, error.hint)
    file = app.key_file(config)
    if stat.S_IMODE(file.stat().st_mode) & _OTHERS:
        return bad("key", f"others can read the private key {file}", f"chmod 600 {file}")
    return ok("key", f"{key.id}, {key.public}")


def _gateway(config: Config, layout: Layout) -> tuple[bool, Check]:
    try:
        SpoolLock(layout).release()
    except Unavailable as error:
        if probe.answers_on_socket(app.socket_of(config)):
            return True, ok("gateway", f"running, process {error.fields.get('pid')}")
        return True, bad(
            "gateway",
            f"process {error.fields.get('pid')} holds the spool and does not answer",
            "it may be starting; if it stays so, restart the gateway",
        )
    except OSError as error:
        return False, bad("gateway", f"cannot open {layout.lock}: {error.strerror}")
    return False, warn("gateway", "not running", "tx-bridge serve starts it")


def _http(config: Config) -> Check:
    address = f"{config.http.host}:{config.http.port}"
    status, text = probe.http(config.http.host, config.http.port, "/readyz")
    if status is None:
        return warn(
            "http", f"nothing answers on {address}: {text}", "was it started with --listen?"
        )
    if status != probe.HTTP_OK:
        return bad("http", f"{address} answers {status}: {text.strip()}")
    return ok("http", f"answers on {address}")


def _plugin() -> Check:
    if entry_points(group="bridge.plugins", name="caldav"):
        return ok("caldav", "plugin installed")
    return bad("caldav", "the CalDAV plugin is not installed", "install the package again")


def _users(config: Config, layout: Layout) -> Check:
    try:
        url = config.directory_url
        directory = open_url(url) if url else open_directory(layout.directory)
    except BridgeError as error:
        return bad("directory", error.public, error.hint)
    try:
        people, failures = directory.people.all(), directory.outbox.failures()
    except BridgeError as error:
        return bad("directory", error.public, error.hint)
    finally:
        directory.close()
    if failures:
        return warn(
            "directory",
            f"{len(failures)} mails could not be sent, the last: {failures[0].last_error}",
        )
    if not people:
        return warn("directory", "there are no users yet", "tx-bridge user add ADDRESS")
    return ok("directory", f"{len(people)} users")


def _index_and_clock(config: Config, layout: Layout) -> Iterator[Check]:
    if not config.index_url and not layout.index.is_file():
        yield warn("index", "there is none yet", "it is made when it is needed")
        return
    reader = FileLogReader(layout)
    newest, total, behind, lost = "", 0, [], []
    try:
        url = config.index_url
        engine = open_index_url(url) if url else open_index_file(layout.index)
        try:
            index = Index(engine)
            known = {one: index.project(one) for one in index.projects()}
        finally:
            engine.close()
        for project in sorted({*known, *reader.projects()}):
            state, count = known.get(project), reader.count(project)
            seen = state.seq if state else 0
            newest, total = max(newest, state.ts if state else ""), total + count
            if seen > count:
                lost.append(f"{project} ends with entry {count}, not {seen}")
            elif seen < count:
                behind.append(project)
    except BridgeError as error:
        yield bad("index", error.public, error.hint or "tx-bridge rebuild makes it afresh")
        return
    except Exception as error:  # noqa: BLE001 - a damaged database raises whatever its driver does
        yield bad("index", f"it cannot be read: {error}", "tx-bridge rebuild makes it afresh")
        return
    finally:
        reader.close()
    if lost:
        yield bad(
            "index",
            f"it has seen more than the log holds: {', '.join(lost)}",
            "restore the log from a backup; tx-bridge verify says more",
        )
    elif behind:
        yield warn("index", f"behind the log: {', '.join(behind)}", "the next command catches up")
    else:
        yield ok("index", f"{total} entries of {len(known)} projects")
    yield _clock(newest)


def _clock(newest: str) -> Check:
    now = app.clock().strftime("%Y-%m-%dT%H:%M:%S.999Z")
    if newest > now:
        return bad(
            "clock",
            f"the clock shows {now}, earlier than the newest entry, {newest}",
            "set the clock, for example by NTP",
        )
    return ok("clock", now[:19] + "Z")


def _disk(config: Config, layout: Layout) -> Check:
    free = Reserve(layout.home, reserve=config.reserve).free()
    sentence = f"{free // (1 << 20)} MiB free"
    if free < config.reserve:
        return bad("disk", f"{sentence}, below the reserve: changes are refused", "free some space")
    if free < _LOW * config.reserve:
        return warn("disk", f"{sentence}, soon too little", "free some space")
    return ok("disk", sentence)


def _certificates(config: Config) -> Iterator[Check]:
    trust, now = config.mail.trust, app.clock()
    try:
        anchors = load_anchors(trust)
    except BridgeError as error:
        yield bad("certificates", error.public, error.hint)
        return
    stale = anchors.stale_revocations(now)
    if stale:
        yield warn("certificates", f"{stale} revocation lists are out of date", "fetch them anew")
    count = 0
    for path in (*trust.ca_files, *trust.intermediate_files):
        try:
            loaded = x509.load_pem_x509_certificates(path.read_bytes())
        except LIBRARY_ERRORS as error:
            yield bad("certificates", f"{path} cannot be read: {error}")
            continue
        count += len(loaded)
        days = min((one.not_valid_after_utc - now).days for one in loaded)
        if days < 0:
            yield bad("certificates", f"{path} has expired", "replace it")
        elif days < _SOON_DAYS:
            yield warn("certificates", f"{path} expires in {days} days", "replace it")
    mail = config.mail
    if not count and (mail.mailboxes or mail.listener):
        yield warn(
            "certificates",
            "no authorities: only pinned certificates prove a sender",
            "mail.trust.ca_files, or tx-bridge contact add --certificate",
        )
    elif count:
        yield ok("certificates", f"{count} authorities and intermediates")


def _mail(config: Config, *, running: bool, offline: bool) -> Iterator[Check]:
    mail = config.mail
    if not (mail.mailboxes or mail.listener or mail.smtp):
        yield ok("mail", "off")
        return
    if mail.listener is not None and running:
        greeting = probe.greeting(mail.listener.host, mail.listener.port)
        yield _reached("mail listener", f"{mail.listener.host}:{mail.listener.port}", greeting)
    if offline:
        return
    for box in mail.mailboxes:
        yield _reached("mailbox", box.name, probe.mailbox(box))
    if mail.smtp is not None:
        trouble = probe.smtp(mail.smtp)
        yield _reached("mail server", f"{mail.smtp.host}:{mail.smtp.port}", trouble)


def _reached(name: str, place: str, trouble: str) -> Check:
    if trouble:
        return bad(name, f"{place}: {trouble}")
    return ok(name, f"{place} answers")
