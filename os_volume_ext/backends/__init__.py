"""Backends: the plugins that really attach disks. ``base`` is all that a plugin's author reads."""
