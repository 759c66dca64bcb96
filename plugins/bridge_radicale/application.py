"""Radicale's application with our answers in it.

The shell stays Radicale's: login, path checks, dispatch, 401 and its realm. Every method that
clients use is answered by `bridge.caldav`; what that does not know (reports) falls through to
Radicale's own code over our storage.
"""

from __future__ import annotations

import io
import logging
import zlib
from functools import partialmethod
from typing import TYPE_CHECKING, Any, Final

from radicale import httputils
from radicale.app import Application

from bridge.caldav import answers, heeding, making, posting, reading, reports, writing
from bridge.caldav.call import Call, actor_of, split_path
from bridge.errors import BridgeError, Corrupt, Invalid
from bridge.model.ids import Address
from bridge_radicale.auth import is_basic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from radicale.config import Configuration

    from bridge.caldav.answers import Answer
    from bridge.caldav.call import Door
    from bridge_radicale.visit import Visits

log = logging.getLogger(__name__)
HREF: Final = "tx_bridge.href"
"""Where the mount leaves the path as the client asked for it."""
CONTENT_TYPE: Final = "tx_bridge.content_type"
"""Where the mount leaves the Content-Type: Radicale decodes logins by its charset."""
FORWARDED_HOST: Final = "tx_bridge.forwarded_host"
"""Where it leaves X-Forwarded-Host, which only MOVE compares with its destination."""
PATH: Final = "tx_bridge.path"
"""Where it leaves the decoded path below it, dot segments and all."""
QUERY: Final = "tx_bridge.query"
"""Where it leaves the query, which Radicale would not know what to do with."""
_WRITING: Final = frozenset({"PUT", "POST", "DELETE", "MOVE", "PROPPATCH", "MKCALENDAR", "MKCOL"})
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "MOVE"})
_GZIP_WBITS: Final = 31
_DRAIN_MAX: Final = 64 * 1024 * 1024
_DRAIN_STEP: Final = 256 * 1024
_NO_SLOW_LEVEL: Final = 1

Raw = tuple[int, dict[str, str], bytes | None, str | None]
Handler = "Callable[[Call], Answer | None]"


class BridgeApplication(Application):
    """One application per process; `door` and `visits` are shared with its plugins."""

    def __init__(self, configuration: Configuration, door: Door, visits: Visits) -> None:
        """Build Radicale's parts from `configuration`."""
        self._door = door
        self._visits = visits
        super().__init__(configuration)

    # -- the shell -----------------------------------------------------------------------

    def _handle_request(
        self, environ: Mapping[str, Any]
    ) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        """Run Radicale's shell; errors of ours and odd headers get their right status."""
        environ = dict(environ)
        self._visits.begin()
        accepts_gzip = "gzip" in environ.pop("HTTP_ACCEPT_ENCODING", "")
        header = environ.get("HTTP_AUTHORIZATION", "")
        if header and not is_basic(header):
            # Radicale would fail over it; as if nothing had been sent, it asks for a login.
            del environ["HTTP_AUTHORIZATION"]
        try:
            status, headers, pieces = super()._handle_request(environ)
        except BridgeError as error:
            return self._plain(self._failed(error))
        finally:
            self._visits.begin()
        body = list(pieces)
        if accepts_gzip:
            self._compress(headers, body)
        return status, headers, body

    def _compress(self, headers: list[tuple[str, str]], body: list[bytes]) -> None:
        size = sum(map(len, body))
        if size < self._door.settings.gzip_from:
            return
        # Level 1: a third of the time of Radicale's default for nearly the same size.
        packer = zlib.compressobj(_NO_SLOW_LEVEL, wbits=_GZIP_WBITS)
        body[:] = [b"".join(map(packer.compress, body)) + packer.flush()]
        headers[:] = [(k, v) for k, v in headers if k.lower() != "content-length"]
        headers += [
            ("Content-Encoding", "gzip"),
            ("Content-Length", str(len(body[0]))),
            ("Vary", "Accept-Encoding"),
        ]

    @staticmethod
    def _failed(error: BridgeError) -> Answer:
        level = logging.ERROR if isinstance(error, Corrupt) else logging.INFO
        log.log(level, "%s", error.public, extra={"door": "caldav", "code": error.code})
        return answers.failed(error)

    @staticmethod
    def _plain(answer: Answer) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        body = answer.body or b""
        headers = [*answer.headers.items(), ("Content-Length", str(len(body)))]
        return f"{answer.status.value} {answer.status.phrase}", headers, [body]

    # -- methods -------------------------------------------------------------------------

    def _call(self, environ: dict[str, Any], user: str) -> Call:
        method = environ["REQUEST_METHOD"].upper()
        return Call(
            method=method,
            parts=split_path(environ[PATH]),
            href=environ[HREF],
            headers=_headers(environ),
            body=b"" if method in _WITHOUT_BODY else self._body(environ),
            user=Address(user),
            credential=self._visits.now.credential,
            reader=self._visits.reader(user),
            door=self._door,
            query=environ[QUERY],
        )

    def _body(self, environ: dict[str, Any]) -> bytes:
        """Return the whole body, chunked ones too, and leave a copy for Radicale.

        Raises:
            Invalid: ``body-too-large``; such a body is never held in memory.
        """
        most = self._door.settings.max_body_octets
        stream = environ["wsgi.input"]
        announced = environ.get("CONTENT_LENGTH") or ""
        if announced:
            length = int(announced) if announced.isascii() and announced.isdigit() else most + 1
            if length > most:
                raise _too_large(stream, most, environ[QUERY])
            body = bytes(stream.read(length)) if length else b""
            if len(body) < length:
                raise Invalid("bad-request", "the body ended early")
        elif "HTTP_TRANSFER_ENCODING" in environ:
            body = bytes(stream.read(most + 1))
            if len(body) > most:
                raise _too_large(stream, most, environ[QUERY])
        else:
            body = b""
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return body

    def _answer(self, handler: Callable[[Call], Answer | None], *request: Any) -> Any:
        """Answer with `handler`, or let Radicale do it where the handler knows nothing.

        `request` is what Radicale hands to each method: environ, base prefix, path, user,
        groups, and facts for its log.
        """
        environ, _, _, user, *_ = request
        if not user:
            return httputils.NOT_ALLOWED
        call = None
        try:
            call = self._call(environ, user)
            answer = handler(call) if call.is_own else reports.of_others(call)
            if answer is None and not call.is_own:
                return httputils.NOT_ALLOWED
        except BridgeError as error:
            if isinstance(error, Invalid) and environ["REQUEST_METHOD"].upper() in _WRITING:
                self._note(environ, user, error)
            answer = self._failed(error)
        if answer is None:
            return super().do_REPORT(*request)
        return _raw(heeding.heeded(call, answer) if call else answer)

    def _note(self, environ: dict[str, Any], user: str, error: Invalid) -> None:
        who = actor_of(Address(user), self._visits.now.credential)
        method = environ["REQUEST_METHOD"].upper()
        self._door.note_refusal(who, method, environ[HREF], code=error.code, reason=error.public)

    do_PROPFIND = partialmethod(_answer, reading.propfind)  # noqa: N815 - Radicale's names
    do_REPORT = partialmethod(_answer, reports.report)  # noqa: N815
    do_GET = partialmethod(_answer, reading.get)  # noqa: N815
    do_HEAD = partialmethod(_answer, reading.get)  # noqa: N815
    do_PUT = partialmethod(_answer, writing.put)  # noqa: N815
    do_POST = partialmethod(_answer, posting.post)  # noqa: N815
    do_DELETE = partialmethod(_answer, writing.delete)  # noqa: N815
    do_MOVE = partialmethod(_answer, writing.move)  # noqa: N815
    do_MKCALENDAR = partialmethod(_answer, making.mkcalendar)  # noqa: N815
    do_MKCOL = partialmethod(_answer, making.mkcol)  # noqa: N815
    do_PROPPATCH = partialmethod(_answer, making.proppatch)  # noqa: N815

    def do_OPTIONS(self, *_: Any) -> Any:  # noqa: N802 - as above
        """Say what is supported, to everybody."""
        return _raw(reading.options())


def _too_large(stream: Any, most: int, query: str) -> Invalid:
    """Return the refusal of a body, once it was read away.

    Most clients read the answer only after they have sent everything: without this they see
    a broken connection and try again for ever. What is longer still is cut off.
    """
    for _ in range(_DRAIN_MAX // _DRAIN_STEP):
        if not stream.read(_DRAIN_STEP):
            break
    code = "attachment-too-large" if "action=" in query else "body-too-large"
    return Invalid(code, f"a body may have at most {most} octets")


def _raw(answer: Answer) -> Raw:
    return answer.status.value, dict(answer.headers), answer.body, None


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        key[5:].replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    headers["content-type"] = str(environ.get(CONTENT_TYPE, ""))
    headers["x-forwarded-host"] = str(environ.get(FORWARDED_HOST, ""))
    return headers
