"""Is it really from them: signatures, certificates, passwords."""
