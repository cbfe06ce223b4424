"""Render a head from a place where no photo was taken, with its depth in millimetres."""

import numpy as np
import torch
from PIL import Image

import protome
from protome.geometry.camera import Camera

head = protome.reconstruct(["photo.jpg"], preset="draft")
camera = Camera.look_at(torch.tensor([400.0, 50.0, 700.0]), torch.tensor([0.0, -40.0, -80.0]), 150.0, 64, 64)
picture = head.render(camera)
Image.fromarray((255 * picture.colour.clamp(0, 1)).byte().numpy()).save("view.png")
depth = np.where(picture.mask > 0.5, picture.depth, 0)
print("nearest point:", round(float(depth[depth > 0].min())), "mm from the camera")
