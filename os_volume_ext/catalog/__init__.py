"""Catalogs: which volumes there are, whose they are, and where their data is. ``base`` defines a catalog."""
