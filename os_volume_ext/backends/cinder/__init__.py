"""A backend that wraps another one and keeps Cinder's attachments; see ``backend``."""

from .backend import CinderBackend

__all__ = ["CinderBackend"]
