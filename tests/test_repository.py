"""What the repository's files may hold: readable sizes, and nothing that ties them to one machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LONGEST_FILE = 500
"""Lines."""
LARGEST_FILE_MB = 25

# Written in parts, so that this file passes its own test.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pytorch", "org/whl"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb", "debian", "org"),
        ("conda", "anaconda", "org"),
        ("proxy", "golang", "org"),
    )
]
MACHINE_PATH = re.compile(r"(?<![\w.)}-])/(?:" + "|".join(["home", "opt", "root", "tmp", "Users", "work"]) + r")/\w")


def repository_files() -> list[Path]:
    """Return the files that are, or would be, under version control; in an unpacked archive, all but build products."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        made = ("build", "dist", "__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache")
        files = [path for path in ROOT.rglob("*") if not {*path.relative_to(ROOT).parts} & {*made, ".hypothesis"}]
    return [path for path in files if path.is_file()]


def text_of(path: Path) -> str | None:
    """Return the text of a file, or None if it is not text."""
    content = path.read_bytes()
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


FILES = repository_files()
TEXTS = {str(path.relative_to(ROOT)): text for path in FILES if (text := text_of(path)) is not None}


def test_the_files_are_found() -> None:
    assert {"README.md", "pyproject.toml", "src/protome/cli.py", "tests/test_repository.py"} <= TEXTS.keys()


@pytest.mark.parametrize("host", REGISTRY_HOSTS)
def test_no_text_names_a_package_registry(host: str) -> None:
    assert [name for name, text in TEXTS.items() if host in text.lower()] == []


def test_no_text_names_a_path_of_one_machine() -> None:
    found = {name: match.group() for name, text in TEXTS.items() if (match := MACHINE_PATH.search(text))}
    assert found == {}


def test_machine_paths_are_recognised() -> None:
    written = ["open('{}/me/x')", "see {}/data.", "PATH={}/bin"]
    for folder in ("home", "work", "root"):
        for text in written:
            assert MACHINE_PATH.search(text.format("/" + folder))
    for harmless in ("build/tmp/x", "a/home/b", "$(TOP)/work/x", "https://example.com/home/page", "tmp/x"):
        assert not MACHINE_PATH.search(harmless)


def test_every_text_file_is_short_enough_to_read() -> None:
    lines = {name: text.count("\n") for name, text in TEXTS.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_file_is_too_large_for_version_control() -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size / 1e6 for path in FILES}
    assert {name: size for name, size in sizes.items() if size > LARGEST_FILE_MB} == {}
