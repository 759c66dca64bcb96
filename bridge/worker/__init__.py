"""The only writer: commands in, signed entries out."""
