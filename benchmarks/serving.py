"""The app at a real port, and requests to it as clients send them."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from protome.app.jobs import Jobs
from protome.app.limits import Limits
from protome.app.server import make_app

PATIENCE_S = 300.0
"""For any answer, and for any job."""
STAND_IN = Path(__file__).parent / "stand_in.py"


@dataclass(frozen=True)
class Answer:
    """What the app answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The sentence of an error."""
        return str(self.json["detail"])


@dataclass(frozen=True)
class Client:
    """Sends requests to an app, each on a connection of its own."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where a browser finds the app."""
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """Send a GET request."""
        return self.ask("GET", path)

    def post(self, path: str, value: object = None) -> Answer:
        """Send a value as JSON."""
        return self.ask("POST", path, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def upload(self, files: Sequence[tuple[str, bytes]], **fields: str) -> Answer:
        """Send files by their names, and fields of a form."""
        mark = secrets.token_hex(8)
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        body = "".join(parts).encode()
        for name, content in files:
            quoted = name.replace("\\", "\\\\").replace('"', "%22")
            body += f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{quoted}"\r\n\r\n'.encode()
            body += content + b"\r\n"
        body += f"--{mark}--\r\n".encode()
        return self.ask("POST", "/api/jobs", body, {"Content-Type": f"multipart/form-data; boundary={mark}"})

    def until(self, job: str, state: str) -> Any:
        """Wait until a job is in a state, and return it."""
        return self.wait(job, lambda own: own["state"] == state, state)

    def wait(self, job: str, condition: Callable[[Any], bool], words: str) -> Any:
        """Wait until something is true of a job, and return it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            own = self.get(f"/api/jobs/{job}").json
            if condition(own):
                return own
            assert time.monotonic() < end, f"not {words} after {PATIENCE_S:g} s: {own}"
            time.sleep(0.05)


@contextmanager
def serving(
    folder: Path, result: Path, *, limits: Limits | None = None, workers: int = 1, token: str | None = None,
    local: bool = True,
) -> Iterator[Client]:  # fmt: skip
    """Serve an app over a folder, whose jobs end as copies of the folder `result`."""
    jobs = Jobs(folder, limits, workers=workers, program=(sys.executable, "-S", str(STAND_IN), str(result)))
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    app = make_app(jobs, token=token, local=local)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield Client(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        jobs.close()
