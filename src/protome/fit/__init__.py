"""Fits a field to a scene: losses, schedules, the fitting loop."""
