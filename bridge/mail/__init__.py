"""The mail door: IMAP, LMTP and SMTP in, answers out."""
