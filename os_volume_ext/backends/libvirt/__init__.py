"""The backend for virtual machines under libvirt (extra ``[libvirt]``); see ``backend``."""

import os

# GLib before 2.76 has its own memory allocator, with a lock that a thread takes when it ends. In a process that is
# forked at that moment the lock stays held, and libvirt.open hangs. GLib reads this variable once, when it is loaded.
os.environ.setdefault("G_SLICE", "always-malloc")
