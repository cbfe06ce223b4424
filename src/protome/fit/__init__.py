"""From a scene to a field: losses, schedules, the fitting loop."""
