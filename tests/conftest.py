"""What all tests have."""

# First of all: what is imported only within a run of pytester's is forgotten after it, but not by all who have it.
import multiprocessing.connection  # noqa: F401

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# A test does not fail for how long it takes; what else Hypothesis has for a CI machine stays.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
