"""Running the app: where it listens, what it prints, and how it ends."""

from __future__ import annotations

import secrets
import socket
import tempfile
import webbrowser
from pathlib import Path

import uvicorn

from protome.app.folder import held, usual_folder
from protome.app.jobs import Jobs
from protome.app.limits import Limits
from protome.app.server import make_app
from protome.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 12


def serve(
    *, host: str, port: int, token: str | None, folder: Path | None, limits: Limits, workers: int, show: bool
) -> None:
    """Serve the app until it is stopped.

    Raises:
        InputError: the port is taken, the address is none of this machine, the token is too short, or another app uses
            the folder.
    """
    local = host in LOOPBACK
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isalnum()):
        raise InputError(f"the token is too easy to guess: give {SHORTEST_TOKEN} or more letters and digits")
    if workers < 1:
        raise InputError(f"{workers} workers make no heads: give 1 or more")
    if token is None and not local:
        token = secrets.token_hex(16)
    with held(folder or usual_folder()) as place, _listening(host, port) as listening:
        tempfile.tempdir = str(place)  # uploads that are still coming in lie where the others do
        jobs = Jobs(place, limits, workers=workers)
        address = _address(host, listening.getsockname()[1], token)
        print(f"Protome: {address}\nPhotos and results are kept in {place}; Ctrl+C stops the app.", flush=True)
        if show:
            webbrowser.open(address)
        config = uvicorn.Config(
            make_app(jobs, token=token, local=local), log_level="warning", server_header=False, access_log=False,
            lifespan="off", timeout_graceful_shutdown=5, ws="none",
        )  # fmt: skip
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            jobs.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen at {host}, port {port} ({reason}): choose another with --port") from error


def _address(host: str, port: int, token: str | None) -> str:
    name = f"[{host}]" if ":" in host else socket.gethostname() if host == "0.0.0.0" else host
    return f"http://{name}:{port}/" + ("" if token is None else f"?token={token}")
