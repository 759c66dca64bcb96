"""Pure values and rules: no clock, no random source, no I/O."""
