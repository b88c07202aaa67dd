"""The filter's cost, as ratios to floors measured in the same run: ``python -m benchmarks``."""
