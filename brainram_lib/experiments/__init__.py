"""Experiments as data: rows of a table in a TOML file, run over subjects and seeds, shown from saved records."""
