"""Helpers that tests of more than one directory use."""
