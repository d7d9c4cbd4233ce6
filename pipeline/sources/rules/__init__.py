"""Rules that a source brings along because they read lists; the rules that see only a table are in `filters`."""
