"""The HTTP API: routing, formats, dialects, microversions and faults."""
