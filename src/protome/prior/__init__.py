"""The trained prior: its latents, their inversion and morphs between heads."""
