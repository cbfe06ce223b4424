"""Distances between meshes, protocols, tables."""
