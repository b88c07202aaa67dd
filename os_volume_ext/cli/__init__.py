"""The command ``os-volume-ext``: one module for each group of sub-commands, and ``config`` for what they share."""
