"""Settings every test shares."""

from hypothesis import HealthCheck, settings

# Two busy cores make wall-clock limits flaky; the number of examples is what bounds a run.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("shared")
