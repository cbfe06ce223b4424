"""Collect the sizes of all results below a folder as a table for a spreadsheet."""

import csv
import json
from pathlib import Path

rows = []
for path in sorted(Path("build").glob("*/result.json")):
    facts = json.loads(path.read_text())
    rows.append(
        {"subject": path.parent.name, "deviation_percent": facts["size"]["std_percent"], **facts["measures_mm"]}
    )
with open("sizes.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
