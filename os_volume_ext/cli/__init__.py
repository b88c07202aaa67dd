"""The command ``os-volume-ext``: one module for each group of sub-commands, ``paste`` for what they share."""
