"""The command `protome app`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from tyro.conf import DisallowNone, arg

from protome.cli_options import Flag, Integer, MaybeFolder
from protome.errors import InputError

INSTALL = "pip install fastapi uvicorn python-multipart"


def app(
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Integer = 8765,
    token: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint=""), DisallowNone] = None,
    folder: MaybeFolder = None,
    workers: Integer = 1,
    max_files: Integer = 64,
    max_mb: Integer = 1000,
    max_minutes: Integer = 180,
    open: Flag = False,
    forget: Flag = False,
) -> None:
    """Serve a web page that turns photos into heads, on this machine alone unless --host says otherwise.

    Args:
        host: The address to listen at; one that other machines can reach, such as 0.0.0.0, asks visitors for a token.
        port: The port to listen at; 0 is any free one.
        token: What visitors must show, 12 or more letters and digits; if left out, a new one where it is needed.
        folder: Where photos and results are kept; if left out, protome/app among the user's data.
        workers: How many heads are made at a time.
        max_files: The most photos and videos of one upload.
        max_mb: The most megabytes of one upload.
        max_minutes: The longest time that one head may take.
        open: Open the page in the browser.
        forget: Delete all photos and results that the app keeps, and end.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None or find_spec("python_multipart") is None:
        raise InputError(f"the app needs FastAPI, uvicorn and python-multipart: run `{INSTALL}`")
    from protome.app.folder import forget as delete_all
    from protome.app.folder import usual_folder

    if forget:
        place = folder or usual_folder()
        print(f"deleted {delete_all(place)} jobs with their photos and results from {place}")
        return
    from protome.app.limits import Limits
    from protome.app.serve import serve

    limits = Limits(files=max_files, upload_mb=max_mb, job_minutes=max_minutes)
    serve(host=host, port=port, token=token, folder=folder, limits=limits, workers=workers, show=open)
