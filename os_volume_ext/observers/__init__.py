"""Observers of operations: the log, metrics, notifications."""
