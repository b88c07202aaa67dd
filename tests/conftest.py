"""What all tests have."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# A test does not fail for how long it takes; what else Hypothesis has for a CI machine stays.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
