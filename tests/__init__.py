"""The tests: ``unit``, ``functional`` and ``integration``; ``support`` has the helpers that they share."""
