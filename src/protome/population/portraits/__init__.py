"""Rendered portraits of people with exact labels: training pictures for perception, as many as wanted."""
