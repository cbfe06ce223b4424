"""The app's page in a browser: from a drop to a head that turns and a download, and what goes wrong on the way."""

from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import chromium
from devtools import Page, browsing
from painted import painted
from protome.asset.asset import make_asset
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.capture.facts import PhotoFacts
from protome.report.head_report import Shown, write_report
from serving import Client, serving
from test_app import process_of

FACTS = {
    "preset": "draft", "seed": 3, "device": "cpu", "seconds": {"fit": 12.0}, "versions": {"protome": "1"},
    "command": ["protome"], "measures_mm": {"face width": 141.6}, "size": {"from": "the irises", "std_percent": 2.5},
    "cameras_from": "all photos together", "mesh": {"vertices": 12345}, "curves": {}, "alt": {"capture.png": "Photo."},
}  # fmt: skip
TAB, SPACE = 9, 32


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished head."""
    chromium()
    folder = tmp_path_factory.mktemp("result")
    head = painted((0.0,), resolution=70)
    sources = [Source.of(view, view.camera) for view in head.views]
    asset = make_asset(head.mesh, head.grey, sources, AssetOptions(texture=1024, faces=6_000))
    for name in ("preview.png", "capture.png"):
        Image.new("RGB", (640, 300), "teal").save(folder / name)
    view = head.views[0]
    shown = [Shown("a.jpg", np.rint(255 * view.image.numpy()).astype(np.uint8), view.camera)]
    photos = [PhotoFacts("a.jpg", 360, 360, 480.0, "assumed", 900.0, 0.0, 0.0, None, 1.0, ())]
    write_report(folder / "report.html", asset, shown, photos, FACTS, np.array([0.0, -20.0, 15.0]))
    (folder / "head.glb").write_bytes(b"glTF" + bytes(100))
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(chromium(), tmp_path_factory.mktemp("profile")) as own:
        yield own


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


@pytest.fixture
def client(kept: Path, result: Path, page: Page) -> Iterator[Client]:
    with serving(kept, result) as own:
        page.events.clear()
        page.window(1200, 900)
        page.open(own.address)
        page.until("document.querySelector('[name=preset]')")
        yield own
        assert page.complaints() == []


def photo(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def job_of(page: Page) -> str:
    page.until("location.hash.length > 1")
    return str(page.run("location.hash")).lstrip("#")


def visible(page: Page, selector: str) -> bool:
    return bool(page.run(f"Boolean(document.querySelector('{selector}')?.offsetParent)"))


def start(page: Page, folder: Path, content: bytes) -> str:
    """Give a photo, choose the fastest preset, and start."""
    page.drop("#drop", [photo(folder, "me.jpg", content)])
    job = job_of(page)
    page.until("document.querySelector('#options').offsetParent")
    page.click("[name=preset][value=draft]")
    page.click("#options button[type=submit]")
    return job


def test_photos_that_are_dropped_become_a_head_that_turns_and_a_download(
    page: Page, client: Client, tmp_path: Path
) -> None:
    page.drop("#drop", [photo(tmp_path, "me.jpg", b"warn"), photo(tmp_path, "side.jpg", b"photo")])
    job = job_of(page)
    page.until("document.querySelector('#options').offsetParent")
    # What was found is there before anything starts.
    assert "the face is blurred in me.jpg" in page.text()
    page.until("document.querySelector('#job-sheet img').naturalWidth === 640")
    assert client.get(f"/api/jobs/{job}").json["state"] == "ready"
    page.click("[name=preset][value=draft]")
    page.click("[name=format][value=obj]")
    page.click("#options button[type=submit]")
    page.until("document.querySelector('#job-head iframe')")
    assert client.get(f"/api/jobs/{job}").json["options"]["formats"] == ["glb", "obj", "ply"]
    page.place("#job-head iframe")
    before = _settled(page, tmp_path)
    page.drag("#job-head iframe", 200)
    after = _settled(page, tmp_path)
    # The head fills a part of the window and has many colours; turned, it looks otherwise.
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 500
    assert np.abs(before - after).mean() > 1
    downloads = tmp_path / "downloads"
    page.call("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    page.click("#job-downloads a.main")
    archive = downloads / f"protome_{job}.zip"
    end = time.monotonic() + 60
    while not archive.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "head.glb" in zipfile.ZipFile(io.BytesIO(archive.read_bytes())).namelist()
    asked = [address for address in page.addresses() if not address.startswith(("data:", "blob:"))]
    assert all(address.startswith(client.address) for address in asked), asked


def test_a_file_that_is_no_photo_is_refused_and_one_that_cannot_be_read_is_named(
    page: Page, client: Client, tmp_path: Path
) -> None:
    page.drop("#drop", [photo(tmp_path, "letter.docx", b"x")])
    page.until("document.querySelector('#upload-error').textContent.includes('letter.docx is no photo')")
    assert client.get("/api/jobs").json == []
    page.drop("#drop", [photo(tmp_path, "me.jpg", b"bad")])
    page.until("document.querySelector('#job-error').textContent.startsWith('Me.jpg cannot be read')")
    assert not visible(page, "#options")


def test_a_job_is_cancelled_and_one_whose_process_is_killed_says_so(
    page: Page, client: Client, kept: Path, tmp_path: Path
) -> None:
    job = start(page, tmp_path, b"slow")
    page.until("document.querySelector('#job-left').textContent.includes('left')")
    page.click("#job-cancel")
    page.until("document.querySelector('#job-state').textContent === 'Cancelled.'")
    # It can be started again.
    page.until("document.querySelector('#options').offsetParent")
    page.click("#options button[type=submit]")
    os.kill(process_of(client, kept, job), signal.SIGKILL)
    page.until("document.querySelector('#job-error').textContent.includes('SIGKILL')")
    page.click("#job-delete")
    page.until("document.querySelector('#earlier').children.length === 0")
    assert list(kept.iterdir()) == []


def test_earlier_heads_are_opened_and_deleted(page: Page, client: Client, tmp_path: Path) -> None:
    start(page, tmp_path, b"photo")
    page.until("document.querySelector('#job-head iframe')")
    page.open(client.address + "api")
    assert "/api/jobs/{job}/start" in page.text()
    page.open(client.address)
    page.until("document.querySelector('#earlier li')")
    assert not visible(page, "#job")
    page.click("#earlier li button")
    page.until("document.querySelector('#job-head iframe')")
    page.click("#forget")
    page.until("document.querySelector('#earlier').children.length === 0")
    assert client.get("/api/jobs").json == []


def test_the_page_is_used_with_keys_alone_and_every_control_has_a_name(
    page: Page, client: Client, tmp_path: Path
) -> None:
    start(page, tmp_path, b"slow")
    page.until("document.querySelector('#job-cancel').offsetParent")
    page.run("document.querySelector('#job-title').focus()")
    for _ in range(10):
        page.key("Tab", TAB)
        if page.run("document.activeElement.id") == "job-cancel":
            break
    assert page.run("document.activeElement.id") == "job-cancel"
    page.key(" ", SPACE, " ")
    page.until("document.querySelector('#job-state').textContent === 'Cancelled.'")
    page.until("document.querySelector('#options').offsetParent")
    roles = {"button", "link", "checkbox", "radio", "combobox", "spinbutton", "progressbar", "image"}
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert {"radio", "checkbox", "combobox", "spinbutton"} <= {node["role"]["value"] for node in controls}
    assert [node for node in controls if not node["name"]["value"].strip()] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_and_its_text_is_read_well(
    page: Page, client: Client, tmp_path: Path, dark: bool
) -> None:
    page.window(360, 740, dark=dark, phone=True)
    page.open(client.address)
    page.until("document.querySelector('[name=preset]')")
    start(page, tmp_path, b"warn")
    page.until("document.querySelector('#job-head iframe')")
    too_wide = """[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > 360.5)
        .map((one) => `${one.tagName} ${one.id} ${one.getBoundingClientRect().right}`)"""
    assert (page.run("document.documentElement.scrollWidth"), page.run(too_wide)) == (360, [])
    # Contrast by WCAG 2.1, of texts on the ground of their sections.
    contrast = """(() => {
        const light = (text) => {
            const parts = text.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
                .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const pairs = ["#job-photos", "#job-state", ".error", "#forget", "#job-downloads a.main"].map((one) => {
            const style = getComputedStyle(document.querySelector(one));
            const own = style.backgroundColor, under = getComputedStyle(document.querySelector("#job")).backgroundColor;
            return [light(style.color), light(/, 0\\)/.test(own) ? under : own)];
        });
        return pairs.map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    })()"""
    assert min(page.run(contrast)) >= 4.5


def _settled(page: Page, folder: Path) -> np.ndarray:
    """Return a picture of the window once it has stopped changing."""
    end, last = time.monotonic() + 60, None
    while True:
        with Image.open(page.picture(folder / "window.png")) as opened:
            now = np.asarray(opened.convert("RGB")).astype(float)
        drawn = len(np.unique(now.reshape(-1, 3), axis=0)) > 500
        if drawn and last is not None and np.array_equal(now, last):
            return now
        assert time.monotonic() < end, "the window does not come to rest"
        last = now
        time.sleep(0.5)
