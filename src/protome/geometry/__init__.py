"""Cameras, transforms and meshes."""
