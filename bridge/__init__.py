"""TX Bridge: a CalDAV and mail gateway for TX, the Task eXchange protocol."""

__version__ = "0.1.0"
