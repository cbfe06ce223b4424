"""One topology for every head: the template mesh, its pull-back, its rig."""
