"""Catalogs: which volumes exist, their projects, and where their data is. Plugin authors import ``base`` only."""
