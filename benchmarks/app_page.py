"""How fast the app's page can be used: `python benchmarks/app_page.py` opens it in Chromium, each time as if anew.

It prints, in the median and at worst, the time from the request to the first interaction (the script has run, and
photos can be dropped), and to the first picture (First Contentful Paint).

    python benchmarks/app_page.py --report build/demo/report.html

opens the report of a head too, and prints the time until the head is drawn and can be turned. Chromium draws without a
graphics card. Waiting looks ten times a second, so that the time of the report is up to 0.1 s too long.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from command import command
from devtools import Page, browsing
from protome.errors import InputError
from serving import serving

DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"


@dataclass(frozen=True)
class PageOptions:
    """How often the page is opened."""

    times: int = 9
    """Loads of the page."""
    browser: str = "chromium"
    """The browser's program."""
    report: Path | None = None
    """The report of a head, to be opened as well."""


def report_times(page: Page, report: Path, times: int) -> list[float]:
    """Return the milliseconds from opening a report until the frame after the first one with its head."""
    taken = []
    for _ in range(times):
        page.open(report.resolve().as_uri())
        taken.append(page.run(DRAWN))
    return taken


def main(options: PageOptions) -> None:
    """Print the times."""
    program = shutil.which(options.browser)
    if program is None:
        raise InputError(f"there is no program {options.browser}: install Chromium, or name another of its family")
    if options.report is not None and not options.report.is_file():
        raise InputError(f"{options.report} does not exist: give the report.html of a head")
    with tempfile.TemporaryDirectory() as name:
        kept = Path(name) / "kept"
        kept.mkdir()
        with serving(kept, kept) as client, browsing(program, Path(name) / "profile") as page:
            page.window(1200, 900)
            page.call("Network.setCacheDisabled", {"cacheDisabled": True})
            usable, painted = [], []
            for _ in range(options.times):
                page.open(client.address)
                usable.append(page.run("performance.getEntriesByName('interactive')[0].startTime"))
                page.until("performance.getEntriesByName('first-contentful-paint').length")
                painted.append(page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            drawn = [] if options.report is None else report_times(page, options.report, options.times)
    for what, values in (("first interaction", usable), ("first picture", painted), ("head in the report", drawn)):
        if not values:
            continue
        print(f"{what}: {statistics.median(values) / 1e3:.2f} s in the median, {max(values) / 1e3:.2f} s at worst")


if __name__ == "__main__":
    sys.exit(command(main, PageOptions, __doc__))
