"""The embedded default backend, for which volumes are files and servers are directories; see ``backend``."""

from .backend import DirectoryBackend

__all__ = ["DirectoryBackend"]
