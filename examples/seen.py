"""Paint a head by what the photo shows: green where it is seen, orange where it is guessed."""

import numpy as np

from protome.geometry.mesh import Mesh

mesh = Mesh.load("build/me/head.ply")
seen = np.clip(mesh.visibility / 0.25, 0, 1)[:, None]
colours = seen * np.array([0.27, 0.63, 0.47]) + (1 - seen) * np.array([0.92, 0.59, 0.24])
Mesh(mesh.vertices, mesh.faces, colours, mesh.normals).save("seen.ply")
print(f"{100 * seen.mean():.0f} % of the vertices are seen")
