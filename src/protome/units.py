"""The one number that ties the fields' inner unit to the world."""

UNIT_MM = 200.0
"""Millimetres per unit of length inside every field, prior and renderer."""
