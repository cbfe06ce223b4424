"""The script that draws the head in a report: three.js, as the installed package trimesh brings it."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from importlib import resources

_START, _END = "<script>", "THREE.GLTFLoader=GLTFLoader;})();"
"""What surrounds three.js and its reader of GLB files in trimesh's page."""


@lru_cache(maxsize=1)
def three_js() -> str | None:
    """Return the text of three.js with `THREE.GLTFLoader`; None where this version of trimesh does not bring it.

    Source: three.js, MIT licence, whose notice stands in the text.
    """
    archive = resources.files("trimesh") / "resources" / "templates" / "viewer.zip"
    if not archive.is_file():
        return None
    with archive.open("rb") as opened, zipfile.ZipFile(opened) as pages:
        page = pages.read("viewer.html.template").decode("utf-8")
    start, end = page.find(_START), page.find(_END)
    script = page[start + len(_START) : end + len(_END)] if 0 <= start < end else ""
    # An early end tag would close the report's own.
    return script if script and "</script" not in script.lower() else None
