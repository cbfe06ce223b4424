"""Photos to scenes: landmarks, masks and cameras."""
