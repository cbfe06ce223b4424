"""The page that lists all subjects of a batch with small pictures."""

from __future__ import annotations

import json
from importlib import resources
from urllib.parse import quote

from protome.batch.records import Record, Records

PAGE = "index.html"


def write_summary(records: Records, known: dict[str, Record]) -> None:
    """Write the page, all at once."""
    (records.out / PAGE).write(summary(records, known).encode())


def summary(records: Records, known: dict[str, Record]) -> str:
    """Return the page. It holds the facts of all subjects as data, and draws only the rows that are in sight."""
    rows = [
        [
            record.id, record.status, record.error or record.warnings, record.seconds, record.peak_memory_mb,
            record.attempts, record.face_mm, record.head_mm, record.finished,
            quote(_below(records, record.id)), quote(f"{record.id}/{_shown(record)}"),
        ]
        for _, record in sorted(known.items())
    ]  # fmt: skip
    text = (resources.files("protome") / "batch" / "index.html").read_text(encoding="utf-8")
    data = json.dumps(rows, separators=(",", ":"), allow_nan=False)
    return text.replace("@ROWS@", data.replace("<", "\\u003c"))  # so that no sentence ends the script


def _shown(record: Record) -> str:
    """Return the file of a result that shows it best."""
    return "preview.png" if "no-report" in json.loads(record.options) else "report.html"


def _below(records: Records, name: str) -> str:
    return records.thumbnail(name).address[len(records.out.address.rstrip("/")) + 1 :].replace("\\", "/")
