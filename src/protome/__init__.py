"""Full, coloured 3D heads in millimetres from one to thirty-two photos."""
