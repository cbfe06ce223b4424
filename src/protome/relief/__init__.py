"""Relief: the height of fine detail over a smooth face, recovered from the shading in photos."""
