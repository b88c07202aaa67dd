"""Reconcile: make registry and backend consistent again, whatever crashed.

It may run beside live requests and beside itself: it leaves valid claims alone, and claims each row, as requests do,
before it repairs it by a backend call of its own. docs/protocol.rst has the rules.
"""

from .findings import Finding, Outcome
from .reconciler import Reconciler

__all__ = ["Finding", "Outcome", "Reconciler"]
