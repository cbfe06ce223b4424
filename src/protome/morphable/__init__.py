"""Mesh head models and their fit to face landmarks."""
