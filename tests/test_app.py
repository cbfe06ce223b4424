"""The app's API: jobs from upload to download, what it refuses, and that no job is lost."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from app_load import LoadOptions, load
from protome.app.folder import forget, held, job_folders, usual_folder
from protome.app.limits import Limits
from protome.app.upload import SUFFIXES, shown_name, stored_names
from protome.capture.video import VIDEO_SUFFIXES
from protome.errors import InputError
from protome.scenes.masks import mask_file_of
from protome.util.image_files import IMAGE_SUFFIXES
from serving import Answer, Client, serving

PHOTO = ("me.jpg", b"a photo")
FIELDS = {"start": "true", "preset": "draft"}


@pytest.fixture
def result(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    Image.new("RGB", (8, 6), "teal").save(folder / "capture.png")
    (folder / "head.glb").write_bytes(b"glTF" + bytes(100))
    (folder / "report.html").write_text("<!DOCTYPE html><title>Report</title>")
    (folder / "result.json").write_text(json.dumps({"seconds": {"capture": 1, "fit": 2, "mesh": 3, "asset": 4}}))
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


@pytest.fixture
def client(kept: Path, result: Path) -> Iterator[Client]:
    with serving(kept, result) as own:
        yield own


def made(answer: Answer) -> str:
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


def process_of(client: Client, kept: Path, job: str) -> int:
    """Return the process that works for a job."""
    client.wait(job, lambda own: own["progress"] is not None and own["progress"]["detail"] != "", "working")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0") if path.exists() else []
        if b"reconstruct" in words and any(str(kept / job).encode() in word for word in words):
            return int(path.parent.name)
    raise AssertionError("no process works for the job")


# From photos to a head


def test_photos_are_inspected_first_and_a_head_is_made_when_asked_for(client: Client, kept: Path) -> None:
    job = made(client.upload([("my photo.JPG", b"warn"), ("side.png", b"other")]))
    ready = client.until(job, "ready")
    assert ready["warnings"] == ["the face is blurred in my photo.JPG"]
    assert ready["can_start"]
    assert ready["zip_url"] is None
    assert Image.open(io.BytesIO(client.get(ready["inspection_url"]).body)).size == (8, 6)
    options = {"preset": "draft", "texture": 1024, "formats": ["glb", "stl"], "pupils": 62.5}
    assert client.post(f"/api/jobs/{job}/start", options).json["state"] == "waiting"
    done = client.until(job, "done")
    assert done["options"] == options | {"expression": "as-photo"}
    words = json.loads((kept / job / "command.json").read_text())
    inputs = str(kept / job / "input")
    assert words[:2] == [f"{inputs}/photo_01.jpg", f"{inputs}/photo_02.png"]
    assert words[4:] == ["--preset", "draft", "--texture", "1024", "--formats", "glb,stl", "--pupils", "62.5"]
    assert client.get(f"/api/jobs/{job}/files/head.glb").body == b"glTF" + bytes(100)
    archive = zipfile.ZipFile(io.BytesIO(client.get(done["zip_url"]).body))
    assert archive.testzip() is None
    assert archive.read("head.glb") == b"glTF" + bytes(100)
    assert {"head.glb", "report.html", "result.json"} <= set(archive.namelist())


def test_a_head_is_made_at_once_where_the_upload_says_so(client: Client) -> None:
    job = made(client.upload([PHOTO], **FIELDS, formats="glb, obj"))
    assert client.until(job, "done")["options"]["formats"] == ["glb", "obj"]
    listed = client.get("/api/jobs").json
    assert [own["id"] for own in listed] == [job]


def test_progress_has_a_share_and_the_time_that_remains(client: Client) -> None:
    job = made(client.upload([("a.png", b"slow")], **FIELDS))
    own = client.wait(job, lambda one: one["progress"] and one["progress"]["stage"] == "Fitting the head", "fitting")
    # 30 s of the fit as it says, and by the first guess 5 s and 12 s of the two stages after it.
    assert own["progress"]["seconds_left"] == pytest.approx(47)
    assert 0 < own["progress"]["share"] < 0.5


def test_later_stages_are_expected_to_take_what_they_took_before(client: Client) -> None:
    before = client.get("/api/about").json["preset_seconds"]
    client.until(made(client.upload([PHOTO], **FIELDS)), "done")
    after = client.get("/api/about").json["preset_seconds"]
    assert (before[0], after[0]) == (40, 1 + 2 + 3 + 4)
    # This machine takes a quarter of what was thought, and so should other presets.
    assert after[1:] == [seconds / 4 for seconds in before[1:]]


def test_a_file_that_is_no_photo_fails_in_a_sentence_with_the_users_name(client: Client) -> None:
    failed = client.until(made(client.upload([PHOTO, ("holiday 1.jpg", b"bad")])), "failed")
    assert failed["error"] == "holiday 1.jpg cannot be read as an image: give a JPEG"
    assert not failed["can_start"]
    refused = client.post(f"/api/jobs/{failed['id']}/start", {})
    assert refused.status == 422


def test_a_job_that_is_cancelled_ends_its_process_and_can_be_started_again(client: Client, kept: Path) -> None:
    job = made(client.upload([("a.png", b"slow")], **FIELDS))
    number = process_of(client, kept, job)
    assert client.post(f"/api/jobs/{job}/cancel").json["state"] == "cancelled"
    end = time.monotonic() + 10
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert client.get(f"/api/jobs/{job}").json["can_start"]
    assert client.post(f"/api/jobs/{job}/start", {"preset": "draft"}).json["state"] == "waiting"
    client.until(job, "running")
    assert client.post(f"/api/jobs/{job}/cancel").json["state"] == "cancelled"


def test_a_killed_process_costs_its_job_alone(client: Client, kept: Path) -> None:
    job = made(client.upload([("a.png", b"slow")], **FIELDS))
    other = made(client.upload([PHOTO], **FIELDS))
    os.kill(process_of(client, kept, job), signal.SIGKILL)
    failed = client.until(job, "failed")
    assert "SIGKILL" in failed["error"]
    assert failed["can_start"]
    client.until(other, "done")
    crashed = made(client.upload([("b.png", b"crash")], **FIELDS))
    client.until(crashed, "failed")
    assert client.get("/").status == 200


def test_an_unexpected_end_leaves_its_last_output(client: Client) -> None:
    failed = client.until(made(client.upload([("a.png", b"odd")], **FIELDS)), "failed")
    assert "code 7" in failed["error"]
    assert client.get(f"/api/jobs/{failed['id']}/files/log.txt").body == b"something strange\n"


def test_a_job_that_takes_too_long_is_ended(kept: Path, result: Path) -> None:
    with serving(kept, result, limits=Limits(job_minutes=0.02)) as client:
        failed = client.until(made(client.upload([("a.png", b"slow")], **FIELDS)), "failed")
        assert "more than 0.02 minutes" in failed["error"]


def test_jobs_go_on_with_the_next_app_in_the_folder(kept: Path, result: Path) -> None:
    with serving(kept, result) as client:
        ready = made(client.upload([PHOTO]))
        client.until(ready, "ready")
        slow = made(client.upload([("a.png", b"slow")], **FIELDS))
        client.until(slow, "running")
        waiting = made(client.upload([PHOTO], **FIELDS))
        client.until(waiting, "waiting")
    (kept / slow / "input" / "photo_01.png").write_bytes(b"quick")
    (kept / "0123456789abcdef" / "input").mkdir(parents=True)  # an upload that never ended
    with serving(kept, result) as client:
        assert client.get(f"/api/jobs/{ready}").json["state"] == "ready"
        client.until(slow, "done")
        client.until(waiting, "done")
        assert len(client.get("/api/jobs").json) == 3
    assert not (kept / "0123456789abcdef").exists()


# What is kept


def test_a_deleted_job_leaves_nothing(client: Client, kept: Path) -> None:
    job = made(client.upload([("a.png", b"slow")], **FIELDS))
    client.until(job, "running")
    other = made(client.upload([PHOTO]))
    client.until(other, "ready")
    assert client.ask("DELETE", f"/api/jobs/{job}").status == 204
    assert client.get(f"/api/jobs/{job}").status == 404
    assert not (kept / job).exists()
    assert client.ask("DELETE", "/api/jobs").status == 204
    assert job_folders(kept) == []
    assert client.get("/api/jobs").json == []


def test_forgetting_deletes_jobs_and_nothing_else(kept: Path, result: Path, run: Callable[[list[str]], int]) -> None:
    with serving(kept, result) as client:
        client.until(made(client.upload([PHOTO])), "ready")
    (kept / "mine").mkdir()
    (kept / "mine" / "letter.txt").write_text("stays")
    assert run(["app", "--forget", "--folder", str(kept)]) == 0
    assert [path.name for path in kept.iterdir()] == ["mine"]
    assert forget(kept / "missing") == 0


def test_a_folder_belongs_to_one_app_and_one_user(kept: Path) -> None:
    with held(kept):
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        with pytest.raises(InputError, match="another protome app uses"):
            forget(kept)


def test_results_lie_among_the_users_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert usual_folder() == Path("/somewhere/protome/app")


# What is refused


def test_names_of_files_never_become_paths(client: Client, kept: Path) -> None:
    names = ["../../evil.jpg", "/etc/passwd.png", "a/b\\..\\c.webp", "-rf.jpg", "\u202eevil\n.jpg", "x" * 300 + ".jpg"]
    job = made(client.upload([(name.replace("\n", ""), b"photo") for name in names]))
    shown = [photo["name"] for photo in client.until(job, "ready")["photos"]]
    assert shown[:4] == ["evil.jpg", "passwd.png", "c.webp", "-rf.jpg"]
    stored = sorted(path.name for path in (kept / job / "input").iterdir())
    assert stored == ["photo_01.jpg", "photo_02.png", "photo_03.webp", "photo_04.jpg", "photo_05.jpg", "photo_06.jpg"]
    assert {path.name for path in kept.iterdir()} == {job}
    for name in ("..%2Fjob.json", "job.json", "..%2f..%2f..%2fetc%2fpasswd", ".", "%2e%2e"):
        assert client.get(f"/api/jobs/{job}/files/{name}").status in (404, 405)
    for other in ("..", "%2e%2e", "..%2F" + job):
        assert client.get(f"/api/jobs/{other}").status == 404


def test_shown_names_are_short_and_print() -> None:
    assert shown_name("C:\\photos\\me.jpg") == "me.jpg"
    assert shown_name("a\x00\n\u202eb.jpg") == "ab.jpg"
    assert shown_name("///") == "unnamed"
    assert len(shown_name("x" * 300)) == 101


def test_every_kind_of_photo_and_video_that_is_read_is_taken() -> None:
    assert set(SUFFIXES) == {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES}


@pytest.mark.parametrize(
    ("files", "fields", "words"),
    [
        ([("a.exe", b"x")], {}, "a.exe is no photo and no video"),
        ([("a.jpg", b"")], {}, "a.jpg is empty"),
        ([PHOTO] * 4, {}, "4 files are more than the 3 of one upload"),
        ([PHOTO], {"preset": "best"}, "no preset is called best"),
        ([PHOTO], {"texture": "7"}, "a texture of 7 pixels is not offered"),
        ([PHOTO], {"formats": "glb,exe"}, "no format is called exe"),
        ([PHOTO], {"pupils": "900"}, "pupils 900 mm apart"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence_and_leaves_nothing(
    kept: Path, result: Path, files: list[tuple[str, bytes]], fields: dict[str, str], words: str
) -> None:
    with serving(kept, result, limits=Limits(files=3)) as client:
        answer = client.upload(files, **fields)
        assert answer.status == 422
        assert words in answer.detail
        assert list(kept.iterdir()) == []


def test_uploads_have_limits_of_size_and_time(kept: Path, result: Path) -> None:
    with serving(kept, result, limits=Limits(upload_mb=1, upload_minutes=0.02)) as client:
        assert client.upload([("a.jpg", bytes(1_100_000))]).status == 413

        def without_length(parts: list[bytes], pause: float = 0.0) -> Answer:
            def body() -> Iterator[bytes]:
                yield b'--m\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
                for part in parts:
                    time.sleep(pause)
                    yield part

            headers = {"Content-Type": "multipart/form-data; boundary=m"}
            return client.ask("POST", "/api/jobs", body(), headers)  # type: ignore[arg-type]

        assert "more than 1 MB" in without_length([bytes(200_000)] * 6).detail
        slow = without_length([b"x"] * 3 + [b"\r\n--m--\r\n"], pause=0.6)
        assert (slow.status, slow.detail) == (408, "the upload took more than 0.02 minutes")
        assert client.upload([PHOTO]).status == 201
    with serving(kept, result, limits=Limits(spare_mb=10**9)) as client:
        assert "too little room" in client.upload([PHOTO]).detail


def test_a_full_queue_takes_no_more(kept: Path, result: Path) -> None:
    with serving(kept, result, limits=Limits(unfinished=1)) as client:
        job = made(client.upload([("a.png", b"slow")], **FIELDS))
        assert "wait already" in client.upload([PHOTO]).detail
        client.post(f"/api/jobs/{job}/cancel")
        assert client.upload([PHOTO]).status == 201


def test_pages_of_other_sites_reach_nothing(client: Client) -> None:
    own = client.address.rstrip("/")
    for headers in (
        {"Host": "evil.example"}, {"Host": f"evil.example:{client.port}"}, {"Origin": "http://evil.example"},
        {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ):  # fmt: skip
        for method, path in (("GET", "/api/jobs"), ("POST", "/api/jobs"), ("DELETE", "/api/jobs")):
            assert client.ask(method, path, headers=headers).status == 403, (headers, method)
    assert client.ask("GET", "/api/jobs", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}).status == 200
    assert client.ask("GET", "/api/jobs", headers={"Host": f"localhost:{client.port}"}).status == 200
    # A link on another site may lead to the page.
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.ask("GET", "/", headers=visit).status == 200
    assert client.ask("GET", "/api/jobs", headers=visit).status == 403


def test_an_app_for_other_machines_asks_for_its_token(kept: Path, result: Path) -> None:
    with serving(kept, result, token="abcdefghijkl", local=False) as client:
        assert client.get("/").status == 401
        assert b"Token" in client.get("/").body
        for path in ("/api/jobs", "/api/about", "/api/openapi.json", "/app.js", "/?token=wrong"):
            assert client.get(path).status == 401, path
        assert client.upload([PHOTO]).status == 401
        assert client.get("/healthz").body == b"ok"
        login = client.get("/?token=abcdefghijkl")
        assert (login.status, login.headers["location"]) == (303, "/")
        cookie = login.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        for headers in ({"Cookie": cookie.partition(";")[0]}, {"Authorization": "Bearer abcdefghijkl"}):
            assert client.ask("GET", "/api/jobs", headers=headers).status == 200
        assert client.ask("GET", "/api/jobs", headers={"Authorization": "Bearer abcdefghijk"}).status == 401


def test_a_report_may_ask_the_app_for_nothing(client: Client) -> None:
    job = client.until(made(client.upload([PHOTO], **FIELDS)), "done")
    policy = client.get(job["report_url"]).headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "default-src 'none'" in policy
    page = client.get("/").headers
    assert "script-src 'self'" in page["content-security-policy"]
    assert page["x-content-type-options"] == "nosniff"
    assert page["cache-control"] == "no-store"


def test_the_api_describes_itself(client: Client) -> None:
    description = client.get("/api/openapi.json").json
    assert {"/api/jobs", "/api/jobs/{job}", "/api/jobs/{job}/start", "/api/jobs/{job}/zip"} <= set(description["paths"])
    assert client.get("/api").status == 200
    for path in ("/docs", "/redoc"):  # these would load scripts from elsewhere
        assert client.get(path).status == 404


def test_masks_lie_beside_their_photos(client: Client, kept: Path) -> None:
    files = [("Me.jpg", b"one"), ("me.mask.png", b"mask"), ("side.PNG", b"two"), ("side.PNG.mask.png", b"other mask")]
    job = made(client.upload(files, **FIELDS))
    done = client.until(job, "done")
    inputs = kept / job / "input"
    assert json.loads((kept / job / "command.json").read_text())[:3] == [
        f"{inputs}/photo_01.jpg", f"{inputs}/photo_02.png", "--out",
    ]  # fmt: skip
    assert mask_file_of(inputs / "photo_01.jpg") == inputs / "photo_01.mask.png"
    assert (inputs / "photo_01.mask.png").read_bytes() == b"mask"
    assert (inputs / "photo_02.mask.png").read_bytes() == b"other mask"
    assert [photo["name"] for photo in done["photos"]] == [name for name, _ in files]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["me.jpg", "you.mask.png"], "you.mask.png is the mask of no photo here"),
        (["me.mask.png"], "me.mask.png is the mask of no photo here"),
        (["me.jpg", "me.png", "me.mask.png"], "call it me.jpg.mask.png"),
        (["me.jpg", "me.mask.png", "me.jpg.mask.png"], "one of several masks"),
    ],
)
def test_masks_of_no_photo_are_refused(names: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        stored_names(names)


def test_the_expression_is_a_choice_where_the_prior_knows_some(
    client: Client, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protome.app.job.expressions", lambda: ("as-photo",))
    refused = client.upload([PHOTO], **FIELDS, expression="neutral")
    assert (refused.status, refused.detail) == (422, "no head can have the expression neutral: use as-photo")
    monkeypatch.setattr("protome.app.job.expressions", lambda: ("as-photo", "neutral"))
    job = made(client.upload([PHOTO], **FIELDS, expression="neutral"))
    assert client.until(job, "done")["options"]["expression"] == "neutral"
    assert json.loads((kept / job / "command.json").read_text())[-2:] == ["--expression", "neutral"]


# How the command starts and ends


def command(kept: Path, *words: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "protome.cli", "app", "--folder", str(kept), "--port", "0", *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_until_it_is_stopped(kept: Path) -> None:
    process = command(kept)
    assert process.stdout is not None
    address = process.stdout.readline().strip().removeprefix("Protome: http://127.0.0.1:").rstrip("/")
    assert str(kept) in process.stdout.readline()
    client = Client(int(address))
    assert client.get("/api/about").json["folder"] == str(kept)
    # A real command on a file that is no photo.
    failed = client.until(made(client.upload([("holiday.jpg", b"no photo")])), "failed")
    assert failed["error"].startswith("holiday.jpg cannot be read as an image")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_what_an_app_has_started_ends_with_it(kept: Path) -> None:
    code = "import time; time.sleep(60)"
    program = f"from protome import cli, cli_child; cli.main = lambda: exec({code!r}); cli_child.main()"
    words = [sys.executable, "-c", program]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    assert started.stdin is not None
    time.sleep(0.5)
    assert started.poll() is None
    started.stdin.close()
    assert started.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--token", "short"], "the token is too easy to guess"),
        (["--workers", "0"], "0 workers make no heads"),
        (["--host", "203.0.113.7"], "cannot listen at 203.0.113.7"),
        (["--max-mb", "0"], "a limit of 0 megabytes lets nothing through"),
    ],
)
def test_options_that_cannot_be_served_are_refused(
    run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], kept: Path, words: list[str], sentence: str
) -> None:
    assert run(["app", "--folder", str(kept), "--port", "0", *words]) == 2
    assert sentence in capsys.readouterr().err


# Many at once


def test_many_clients_lose_no_job_and_starve_no_page() -> None:
    # `python benchmarks/app_load.py` is the same with 50 clients and 200 uploads.
    report = load(LoadOptions(clients=10, uploads=30, megabytes=0.3))
    assert (report.done, report.lost) == (30, 0)
    assert report.refused == {}
    # Pages were answered all the while, and not only at the end.
    assert report.pages >= 3
    assert report.pages_before_half > 0
