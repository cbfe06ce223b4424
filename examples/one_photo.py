"""Make a head from one photo and save all of its files: `python one_photo.py`."""

import protome

head = protome.reconstruct(["photo.jpg"], preset="draft", seed=0)
head.save("build/example")
print(f"{len(head.mesh.vertices)} vertices, {head.seconds['fit']:.0f} seconds of fitting")
low, high = head.mesh.bounds
print("width, height and depth in mm:", (high - low).round().astype(int))
