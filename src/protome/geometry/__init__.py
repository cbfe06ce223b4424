"""Cameras, transforms and meshes: the plain facts of space."""
