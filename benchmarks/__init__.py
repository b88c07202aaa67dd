"""What the filter costs, as ratios to floors that are measured in the same run: ``python -m benchmarks``."""
