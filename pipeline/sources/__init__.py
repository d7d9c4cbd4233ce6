"""Metadata in, canonical pairs out: LAION, Wukong, and any table with a column mapping."""
