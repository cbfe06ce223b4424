"""The page of a batch: ten thousand subjects are sorted and searched, few are drawn, and no text of theirs is code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from browser import chromium, visit
from protome.batch.places import Place
from protome.batch.process import Ended
from protome.batch.records import Record, Records
from protome.batch.subject import Subject
from protome.batch.summary import summary
from protome.batch.work import recorded

EVIL = "</script><script>fetch('evil', {method: 'POST', body: 'x'})</script><img src=x onerror=alert(1)>"
LOOK = """
<script>
const rows = () => [...document.querySelectorAll("#list .row")];
const high = (row) => parseFloat(row.style.top);
const topmost = () => rows().sort((a, b) => high(a) - high(b))[0].children[1].textContent;
const found = {count: document.getElementById("count").textContent, drawn: rows().length, first: topmost()};
const started = performance.now();
[...document.querySelectorAll("#head button")].find((each) => each.textContent === "seconds").click();
[...document.querySelectorAll("#head button")].find((each) => each.textContent === "seconds").click();
found.slowest = topmost();
found.sorting_ms = performance.now() - started;
document.getElementById("status").value = "failed";
document.getElementById("status").onchange();
found.failed = rows().map((row) => row.children[1].textContent + ": " + row.children[3].textContent);
fetch("found", {method: "POST", body: JSON.stringify(found)});
</script></body>"""


def records(count: int) -> dict[str, Record]:
    done = recorded(Subject("x", ("x.jpg",)), Ended("", "", (), 1.0, 900.0, ""), "", "", 1)
    made = {f"s{k:05d}": replace(done, id=f"s{k:05d}", seconds=float((k * 7919) % count)) for k in range(count)}
    return made | {"s00003": replace(made["s00003"], status="failed", kind="refused", error=EVIL)}


def test_ten_thousand_subjects(tmp_path: Path) -> None:
    program = chromium()
    known = records(10_000)
    page = summary(Records(Place(str(tmp_path / "out"))), known)
    assert page.count("</script>") == 2
    path, text = visit(program, page.replace("</body>", LOOK).encode(), tmp_path / "profile")
    assert path == "/found"
    found = json.loads(text)
    assert found["count"].startswith("10000 subjects, 9999 done, 1 failed; 10000 shown")
    assert found["drawn"] < 60
    assert found["first"] == "s00000"
    assert known[found["slowest"]].seconds == 9999
    assert found["failed"] == [f"s00003: {EVIL}"]
    assert found["sorting_ms"] < 5000


def test_pictures_and_reports_are_linked_by_relative_addresses(tmp_path: Path) -> None:
    own = Records(Place(str(tmp_path)))
    known = {"a b#c": replace(records(4)["s00000"], id="a b#c")}
    (row,) = json.loads(summary(own, known).partition('type="application/json">')[2].partition("</script>")[0])
    shown = own.thumbnail("a b#c").local.relative_to(tmp_path).as_posix()
    assert row[9] == shown.replace(" ", "%20").replace("#", "%23")
    assert row[10] == "a%20b%23c/report.html"
