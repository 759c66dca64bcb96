"""Does a server answer? Each probe ends within `SECONDS` and says in words what is wrong.

Nothing is changed on the other side, except that a mailbox gets its folders for handled
mail, as the gateway would make them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.mail.mailbox import Mailbox
from bridge.mail.sender import Security

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.mail.mailbox import MailboxSettings
    from bridge.mail.sender import SmtpSettings

SECONDS: Final = 10.0
HTTP_OK: Final = 200
_READ: Final = 512
_READY: Final = b"220"


def answers_on_socket(path: Path) -> bool:
    """Tell whether somebody accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as call:
        call.settimeout(SECONDS)
        try:
            call.connect(str(path))
        except OSError:
            return False
    return True


def http(host: str, port: int, path: str) -> tuple[int | None, str]:
    """Return status and text of a page; None and why where nobody answers."""
    call = HTTPConnection(host, port, timeout=SECONDS)
    try:
        call.request("GET", path)
        answer = call.getresponse()
        return answer.status, answer.read(_READ).decode(errors="replace")
    except (OSError, HTTPException) as error:
        return None, _why(error)
    finally:
        call.close()


def greeting(host: str, port: int, context: ssl.SSLContext | None = None) -> str:
    """Return what is wrong with an SMTP or LMTP server; nothing if it greets."""
    try:
        with socket.create_connection((host, port), SECONDS) as plain:
            call = context.wrap_socket(plain, server_hostname=host) if context else plain
            with call:
                said = call.recv(_READ)
    except (OSError, ValueError) as error:
        return _why(error)
    return "" if said.startswith(_READY) else f"says {said[:60].decode(errors='replace')!r}"


def smtp(settings: SmtpSettings) -> str:
    """Return what is wrong with the mail server; nothing if it greets."""
    context = None
    if settings.security is Security.TLS:
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            return f"{settings.ca_file}: {_why(error)}"
    return greeting(settings.host, settings.port, context)


def mailbox(settings: MailboxSettings) -> str:
    """Return what is wrong with a mailbox; nothing if one can log in and select the folder."""

    async def look() -> None:
        async with asyncio.timeout(SECONDS):
            opened = await Mailbox.open(settings)
            await opened.close()

    try:
        asyncio.run(look())
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} seconds"
    except BridgeError as error:
        return error.public
    except OSError as error:
        return _why(error)
    return ""


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
