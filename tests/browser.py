"""A web browser without a window that draws GLB files with three.js, as the viewers of the web do.

Debian's package `chromium` has the browser; trimesh brings three.js.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import numpy as np
import pytest
import trimesh.resources
import trimesh.util
from PIL import Image

from protome.geometry.camera import Camera

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OWN = "var camera,controls"
"""Where trimesh's own viewer begins, after three.js."""
_PATIENCE_S = 300
_SCRIPT = """
const canvas = document.createElement("canvas");
const renderer = new THREE.WebGLRenderer({canvas, antialias: true, preserveDrawingBuffer: true});
renderer.setPixelRatio(1);
renderer.setSize(WIDTH, HEIGHT, false);
renderer.outputEncoding = THREE.sRGBEncoding;
const scene = new THREE.Scene();
scene.background = new THREE.Color(1, 1, 1);
scene.add(new THREE.HemisphereLight(0xffffff, 0x888888, 1));
const lamp = new THREE.DirectionalLight(0xffffff, 1);
lamp.position.set(0.5, 1, 1);
scene.add(lamp);
const camera = new THREE.PerspectiveCamera(FIELD, WIDTH / HEIGHT, 0.01, 10);
new THREE.Matrix4().fromArray(POSE).decompose(camera.position, camera.quaternion, camera.scale);
function say(path, text) {
  fetch(path, {method: "POST", body: text});
}
window.onerror = (message) => say("error", String(message));
new THREE.GLTFLoader().parse(
  Uint8Array.from(atob(FILE), (letter) => letter.charCodeAt(0)).buffer, "",
  (file) => {
    scene.add(file.scene);
    renderer.render(scene, camera);
    say("picture", canvas.toDataURL("image/png"));
  },
  (error) => say("error", String(error)),
);
"""


def chromium() -> str:
    """Return the browser's program; skip the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed, which draws GLB files as viewers do: on Debian, apt install chromium")
    return found


def drawn(glb: Path, camera: Camera, folder: Path) -> np.ndarray:
    """Return the picture (h, w, 3) in [0, 1] of a GLB in metres from a camera in millimetres with a centred axis."""
    program = chromium()
    pose = camera.T_world_camera.double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] *= 1e-3
    values = {
        "WIDTH": camera.width, "HEIGHT": camera.height, "POSE": pose.T.reshape(-1).tolist(),
        "FIELD": float(np.degrees(2 * np.arctan(camera.height / 2 / float(camera.K[1, 1])))),
        "FILE": base64.b64encode(glb.read_bytes()).decode("ascii"),
    }  # fmt: skip
    script = re.sub("|".join(values), lambda name: json.dumps(values[name[0]]), _SCRIPT)
    told = visit(program, _page(script), folder / "profile")
    assert told[0] == "/picture", f"the browser reports {told[1]}"
    image = Image.open(io.BytesIO(base64.b64decode(told[1].partition(",")[2]))).convert("RGB")
    return np.asarray(image, np.float64) / 255


def visit(program: str, page: bytes, profile: Path) -> tuple[str, str]:
    """Show a page to the browser and return the path and the text of the first message that it sends back."""
    messages: Queue[tuple[str, str]] = Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8")
            self.send_response(204)
            self.end_headers()
            messages.put((self.path, text))

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader", "--no-first-run", f"--user-data-dir={profile}",
            f"http://127.0.0.1:{server.server_port}/",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return messages.get(timeout=_PATIENCE_S)
        except Empty:
            raise AssertionError(f"the browser drew nothing within {_PATIENCE_S} s") from None
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


_TARGETS = """
function say(path, text) {
  fetch(path, {method: "POST", body: text});
}
window.onerror = (message) => say("error", String(message));
new THREE.GLTFLoader().parse(
  Uint8Array.from(atob(FILE), (letter) => letter.charCodeAt(0)).buffer, "",
  (file) => {
    const found = {};
    file.scene.traverse((each) => {
      if (!each.isMesh) return;
      const names = each.morphTargetDictionary || {};
      let largest = 0;
      if (names[NAME] !== undefined) {
        const moves = each.geometry.morphAttributes.position[names[NAME]];
        for (let k = 0; k < moves.count; k++)
          largest = Math.max(largest, Math.hypot(moves.getX(k), moves.getY(k), moves.getZ(k)));
      }
      found[each.name] = {names: Object.keys(names), largest};
    });
    say("found", JSON.stringify(found));
  },
  (error) => say("error", String(error)),
);
"""


def targets_in_browser(glb: Path, name: str, folder: Path) -> dict:
    """Return what three.js has of each mesh of a GLB: names of its targets, and the largest move of one in metres."""
    program = chromium()
    script = _TARGETS.replace("FILE", json.dumps(base64.b64encode(glb.read_bytes()).decode("ascii")))
    told = visit(program, _page(script.replace("NAME", json.dumps(name))), folder / "profile")
    assert told[0] == "/found", f"the browser reports {told[1]}"
    return json.loads(told[1])


def _page(script: str) -> bytes:
    """Return a page with three.js and a script."""
    viewer = trimesh.util.decompress(trimesh.resources.get_bytes("templates/viewer.zip"), file_type="zip")
    page = viewer["viewer.html.template"].read().decode("utf-8")
    library, _, _ = page.partition(_OWN)
    assert "THREE.GLTFLoader=" in library
    return f"{library}\n{script}</script></body></html>".encode()
