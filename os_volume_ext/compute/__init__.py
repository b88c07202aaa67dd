"""The host's compute API: called in-process within a request, and over HTTP outside of one."""
