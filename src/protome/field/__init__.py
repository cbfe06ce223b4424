"""Signed distance and colour as functions of space."""
