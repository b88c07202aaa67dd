"""Backends: the plugins that attach disks to servers. Plugin authors import ``base`` only."""
