"""A browser without a window that is driven as a person does, by Chromium's DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
SETTLE_S = 0.3
"""What a browser needs after scrolling, until it knows which frame lies under the mouse."""
LOWEST_FREE = 10
"""File descriptors from here on are free in a new process."""


class Page:
    """One page of a browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = commands, answers
        self.numbers = itertools.count(1)
        self.waiting = b""
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a command and return its result; events that come first are kept, and dialogs are accepted."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self._read(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if answer.get("method") == "Page.javascriptDialogOpening":
                accept = {"id": next(self.numbers), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                os.write(self.commands, json.dumps(accept | {"sessionId": self.session}).encode() + b"\0")
            elif "method" in answer:
                self.events.append(answer)

    def open(self, address: str) -> None:
        """Go to an address and wait until the page is loaded."""
        self.call("Page.navigate", {"url": address})
        self.until("document.readyState === 'complete' && document.body.dataset.ready === 'true'")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        parameters = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", parameters)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, condition: str, seconds: float = PATIENCE_S) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, (
                f"after {seconds:g} s the page still has not: {condition}; it says:\n{self.text()}"
            )
            time.sleep(0.1)

    def text(self) -> str:
        """Return the text that the page shows."""
        return self.run("document.body.innerText")

    def place(self, selector: str) -> tuple[float, float]:
        """Return the middle of an element, after scrolling to it."""
        script = f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{block: "center"}});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        x, y = self.run(script)
        time.sleep(SETTLE_S)
        return x, y

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y)

    def drag(self, selector: str, across: float, down: float = 0.0) -> None:
        """Press in the middle of an element, move by pixels, and let go."""
        x, y = self.place(selector)
        self._mouse("mousePressed", x, y)
        for step in range(1, 6):
            self._mouse("mouseMoved", x + across * step / 5, y + down * step / 5)
        self._mouse("mouseReleased", x + across, y + down)

    def drop(self, selector: str, files: Sequence[Path]) -> None:
        """Drop files on an element."""
        x, y = self.place(selector)
        data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    def key(self, key: str, code: int, text: str = "") -> None:
        """Press a key, by its name and its Windows code."""
        for kind in ("keyDown", "keyUp"):
            parameters = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", parameters | ({"text": text} if text and kind == "keyDown" else {}))

    def window(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the window and whether the user likes it dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Write a picture of the window, or of the whole page."""
        parameters: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", parameters)["data"]))
        return path

    def addresses(self) -> list[str]:
        """Return all addresses that the page and its frames have asked for."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]

    def complaints(self) -> list[str]:
        """Return what the browser has found wrong with the page."""
        found = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        logged = [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]
        return [str(one) for one in found] + [one["text"] for one in logged if one["level"] == "error"]

    def _mouse(self, kind: str, x: float, y: float) -> None:
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y} | held)

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser says nothing for {PATIENCE_S:g} s"
            data = os.read(self.answers, 1 << 20)
            assert data, "the browser has ended"
            self.waiting += data
        message, _, self.waiting = self.waiting.partition(b"\0")
        return json.loads(message)


@contextmanager
def browsing(program: str, folder: Path) -> Iterator[Page]:
    """Start a browser, of the family of Chromium, with its profile in a folder."""
    told, commands = os.pipe()
    answers, tells = os.pipe()

    def connect() -> None:
        # The browser reads from descriptor 3 and writes to 4, whichever numbers the pipes have here.
        first, second = (fcntl.fcntl(end, fcntl.F_DUPFD, LOWEST_FREE) for end in (told, tells))
        os.dup2(first, 3)
        os.dup2(second, 4)

    words = [
        program, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={folder}",
    ]  # fmt: skip
    process = subprocess.Popen(
        words, pass_fds=(3, 4), preexec_fn=connect, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(told)
    os.close(tells)
    try:
        yield Page(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.terminate()
        process.wait()
