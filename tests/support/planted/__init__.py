"""Backends with one planted fault each, and which tests of ``BackendContract`` catch it."""

from . import (
    attaching,
    detaching,
    encrypting,
    forking,
    inputs,
    leaking,
    limiting,
    reporting,
    resizing,
    sharing,
    starting,
    timing,
)
from .reference import Planted

MODULES = (
    starting,
    attaching,
    detaching,
    reporting,
    resizing,
    encrypting,
    inputs,
    leaking,
    limiting,
    sharing,
    forking,
    timing,
)

FAULTS: dict[str, Planted] = {
    planted.name: planted for module in MODULES for planted in vars(module).values() if isinstance(planted, Planted)
}
"""Each fault by its name."""
