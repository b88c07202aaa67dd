"""Everything that speaks HTTP: routing, formats, dialects and faults."""
