"""The encoder: latents, pose and metric scale of a head, estimated from its photos before any fit."""
