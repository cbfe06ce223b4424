"""The fields' inner unit of length."""

UNIT_MM = 200.0
"""Millimetres per unit of length inside every field, prior and renderer."""
