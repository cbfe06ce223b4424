"""Devices, files, progress and worker processes."""
