"""Who hears of operations: the log, metrics, notifications."""
