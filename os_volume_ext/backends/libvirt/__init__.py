"""The backend for virtual machines under libvirt (extra ``[libvirt]``); see ``backend``."""

import os

# GLib before 2.76 has a memory allocator of its own, with a lock that a thread takes when it ends. In a process that is
# forked at that moment it would stay locked, and libvirt.open hang. GLib reads this once, when it is loaded.
os.environ.setdefault("G_SLICE", "always-malloc")
