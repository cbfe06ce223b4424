"""The HTTP API of the app, and its pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Annotated, Any

import fastapi
from fastapi import FastAPI, File, Form, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.types import ASGIApp

from protome.app.answers import REPORT, AboutAnswer, JobAnswer, own_version, title
from protome.app.archive import zipped
from protome.app.folder import delete
from protome.app.guard import HEALTH, Guard
from protome.app.job import Job, JobOptions
from protome.app.jobs import Jobs, NoJobError, Shown
from protome.app.upload import keep
from protome.errors import InputError

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGES = {
    "/": "app/page/index.html", "/app.css": "app/page/app.css", "/app.js": "app/page/app.js",
    "/icon.svg": "app/page/icon.svg", "/api": "app/page/api.html", "/api.js": "app/page/api.js",
    "/style.css": "report/style.css",
}  # fmt: skip
"""The file of the package at each address; the app looks as reports do."""
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src data: blob:; frame-ancestors 'self'"
)
"""What a report may do: draw itself. It is no page of the app, and cannot ask it for anything."""
MOST_LISTED = 200
NO_JOB: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such job, or no such file of it."}}
REFUSED: dict[int | str, dict[str, Any]] = {422: {"description": "The sentence in `detail` says what is wrong."}}


def make_app(jobs: Jobs, *, token: str | None = None, local: bool = True) -> ASGIApp:
    """Return the app as an ASGI application behind its guard."""
    api = FastAPI(
        title="Protome", version=own_version(), docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        description="Photos of a person in, a full coloured 3D head out. Each upload is a job.",
    )  # fmt: skip

    @api.exception_handler(NoJobError)
    async def no_job(request: Request, error: NoJobError) -> JSONResponse:
        return JSONResponse({"detail": "there is no such job"}, 404)

    _add_pages(api)
    _add_jobs(api, jobs)
    _add_files(api, jobs)
    return Guard(api, jobs.limits, token, local)


def _add_pages(api: FastAPI) -> None:
    def page(name: str) -> Response:
        content = (resources.files("protome") / name).read_bytes()
        kind = KINDS["." + name.rpartition(".")[2]]
        return Response(content, media_type=kind)

    def add(address: str, answer: Response) -> None:
        async def show() -> Response:
            return answer

        api.add_api_route(address, show, include_in_schema=False)

    for address, name in PAGES.items():
        add(address, page(name))
    add(HEALTH, PlainTextResponse("ok"))


def _add_jobs(api: FastAPI, jobs: Jobs) -> None:
    # What only looks is async and never waits for a thread, so that uploads and downloads cannot starve a page.

    @api.get("/api/about")
    async def about() -> AboutAnswer:
        """Return what this app offers, and where it keeps what it is given."""
        return AboutAnswer.of(jobs)

    @api.get("/api/jobs")
    async def list_jobs(most: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50) -> list[JobAnswer]:
        """Return jobs, the newest first."""
        return [JobAnswer.of(shown, jobs) for shown in jobs.newest(most)]

    @api.post("/api/jobs", status_code=201, responses=REFUSED)
    async def upload(
        files: Annotated[
            list[fastapi.UploadFile],
            File(description="Photos, their masks (NAME.mask.png), videos."),
        ],
        start: Annotated[bool, Form(description="Make the head as soon as the photos are inspected.")] = False,
        preset: Annotated[str, Form(description="draft, standard or fine.")] = "standard",
        texture: Annotated[int, Form(description="1024, 2048 or 4096.")] = 2048,
        formats: Annotated[str, Form(description="Separated by commas: glb, obj, ply, stl, usdz.")] = "glb,ply",
        pupils: Annotated[float | None, Form(description="Millimetres between the pupils, if known.")] = None,
        expression: Annotated[str, Form(description="as-photo or neutral, as far as offered.")] = "as-photo",
    ) -> JobAnswer:
        """Take in photos or a video, and inspect them. The head waits for `start`, unless it is asked for here."""
        with _refusing():
            options = JobOptions.parse(preset, texture, formats, pupils, expression)
            shown = await run_in_threadpool(_take, jobs, files, options, start)
        return JobAnswer.of(shown, jobs)

    @api.get("/api/jobs/{job}", responses=NO_JOB)
    async def show_job(job: str) -> JobAnswer:
        """Return one job."""
        return JobAnswer.of(jobs.get(job), jobs)

    @api.post("/api/jobs/{job}/start", responses=NO_JOB | REFUSED)
    def start_job(job: str, options: JobOptions) -> JobAnswer:
        """Make a head from photos that were inspected."""
        with _refusing():
            return JobAnswer.of(jobs.start(job, options.checked()), jobs)

    @api.post("/api/jobs/{job}/cancel", responses=NO_JOB)
    def cancel_job(job: str) -> JobAnswer:
        """Stop a job that waits or runs."""
        return JobAnswer.of(jobs.cancel(job), jobs)

    @api.delete("/api/jobs/{job}", status_code=204, responses=NO_JOB)
    def delete_job(job: str) -> None:
        """Delete a job with its photos and its result."""
        jobs.delete(job)

    @api.delete("/api/jobs", status_code=204)
    def delete_all() -> None:
        """Delete all jobs with their photos and results."""
        for shown in jobs.newest(len(jobs.jobs)):
            with contextlib.suppress(NoJobError):  # somebody else has deleted it
                jobs.delete(shown.job.id)


def _add_files(api: FastAPI, jobs: Jobs) -> None:
    @api.get("/api/jobs/{job}/files/{name}", responses=NO_JOB, response_class=FileResponse)
    async def get_file(job: str, name: str, download: bool = False) -> FileResponse:
        """Return a file that a job has made; with `download`, to be saved."""
        found = jobs.files(jobs.get(job).job.id).get(name)
        if found is None:
            raise HTTPException(404, "this job has no such file")
        headers = {"Content-Security-Policy": SANDBOX} if name == REPORT else {}
        how = "attachment" if download else "inline"
        return FileResponse(found, filename=name, content_disposition_type=how, headers=headers)

    @api.get("/api/jobs/{job}/zip", responses=NO_JOB, response_class=StreamingResponse)
    async def get_zip(job: str) -> StreamingResponse:
        """Return all files that a job has made as one zip file."""
        own = _done(jobs, job)
        headers = {"Content-Disposition": f'attachment; filename="{title(own)}"'}
        return StreamingResponse(zipped(jobs.files(own.id)), media_type="application/zip", headers=headers)


def _take(jobs: Jobs, files: Sequence[UploadFile], options: JobOptions, start: bool) -> Shown:
    """Keep an upload and have it inspected."""
    if len(files) > jobs.limits.files:
        raise InputError(f"{len(files)} files are more than the {jobs.limits.files} of one upload: give fewer")
    jobs.room_for(sum(file.size or 0 for file in files))
    own = jobs.new_folder()
    try:
        given = keep([(file.filename or "", file.file) for file in files], own / "input")
        return jobs.add(own, given, options, at_once=start)
    except BaseException:
        delete(own)
        raise


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Answer bad input with its sentence."""
    try:
        yield
    except InputError as error:
        raise HTTPException(422, str(error)) from error


def _done(jobs: Jobs, name: str) -> Job:
    job = jobs.get(name).job
    if job.state != "done":
        raise HTTPException(404, f"this job is {job.state}, and has no files yet")
    return job
