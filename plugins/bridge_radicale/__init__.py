"""Radicale 3.9 as the protocol engine of the CalDAV door; the only code that knows it.

`factory.make_application` builds one WSGI callable. Inside it Radicale does what it is good
at: the shell around each request (paths, login, dispatch, errors), its storage, auth and
rights interfaces, and every report that we do not answer ourselves. What clients ask every
day is answered by `bridge.caldav` without vobject and without element trees.
"""

from bridge_radicale.factory import Mount, make_application

__all__ = ["Mount", "make_application"]
