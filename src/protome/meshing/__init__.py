"""From a field to a mesh."""
