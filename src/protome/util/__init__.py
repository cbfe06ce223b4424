"""Ground: devices, files, progress and worker processes."""
