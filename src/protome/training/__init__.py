"""Training of the prior: `train`, its latents, and several processes that share it."""
