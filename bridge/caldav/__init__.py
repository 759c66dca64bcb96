"""The CalDAV door, without Radicale: collections, uploads, queries."""
