"""The CalDAV door without its protocol engine: pure HTTP and XML values over the gateway.

Nothing here imports Radicale; `plugins/bridge_radicale` mounts this on it. What is written
goes out as commands (`bridge.worker.command`), what is read comes from the index.

Address space, below the prefix of the mount (``/dav``):

- ``/``: the root; says who is logged in.
- ``/<user>/``: principal and home of a user at once; ``@`` goes out as ``%40``.
- ``/<user>/<list>/``: a project, or ``requests``; see `bridge.caldav.segments`.
- ``/<user>/<list>/<task>``: a task by the name that its client chose.
"""
