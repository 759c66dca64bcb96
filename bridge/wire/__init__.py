"""Pure translation between bytes and values."""
