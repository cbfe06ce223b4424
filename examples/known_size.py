"""Give the distance between the pupils, because photos do not determine how large a head is."""

import protome
from protome.encoder.scale import MetricScale
from protome.fit.options import FitOptions

for pupils in (None, 63.0):
    options = FitOptions(size=None if pupils is None else MetricScale(pupils_mm=pupils))
    head = protome.reconstruct(["photo.jpg"], preset="draft", options=options)
    print("pupils:", pupils, "size:", head.size.facts())
