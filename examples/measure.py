"""Measure a head against a scan: the six landmarks say where the two lie."""

import protome

# For a scan of its own, landmarks= is the file of its landmarks, such as scan.pp.
own = "build/me/result.json"
found = protome.evaluate("build/me/head.ply", "scan.ply", landmarks=own, pred_landmarks=own)
for row in found.rows:
    print(f"{row.name}: mean {row.spread.mean:.2f}, 90 % below {row.spread.p90:.2f} {row.unit}")
