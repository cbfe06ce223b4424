"""The site of the documentation: links out of docs/ lead to pages, generated pages are complete, nothing is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mkdocs.exceptions import PluginError

import commands
import pages

ROOT = Path(__file__).resolve().parents[1]


class Loader(yaml.SafeLoader):
    """Reads the configuration, whose tags are the builder's."""


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/]+\.md", str(yaml.load(text, Loader)["nav"])))
    own = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == own | set(pages.COPIES.values()) | {"reference/commands.md", "examples.md"}


@pytest.mark.parametrize(
    ("text", "source", "truth"),
    [
        ("[a](../NOTICE.md)", "docs/prior.md", "[a](notice.md)"),
        ("[a](../../CONTRIBUTING.md#code)", "docs/guides/few_photos.md", "[a](../contributing.md#code)"),
        ("[a](docs/prior.md#encoder)", "CONTRIBUTING.md", "[a](prior.md#encoder)"),
        ("![a](demo.jpg)", "docs/index.md", "![a](demo.jpg)"),
        ("[the Dockerfile](../Dockerfile)", "docs/app.md", "the Dockerfile"),
        ("[a](https://example.com/x)", "docs/app.md", "[a](https://example.com/x)"),
        ("[a](#here)", "docs/app.md", "[a](#here)"),
    ],
)
def test_links_become_the_sites(text: str, source: str, truth: str) -> None:
    assert pages.linked(text, source) == truth


def test_a_link_to_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match=r"docs/app\.md links to \.\./none\.md"):
        pages.linked("[a](../none.md)", "docs/app.md")


def test_every_command_has_a_section() -> None:
    titles = re.findall(r"^#+ protome (.+)$", commands.page(), re.MULTILINE)
    # What help itself lists, in the program and in its groups.
    listed = re.findall(r"• ([\w-]+)", commands.help_of(()))
    groups = [name for name in listed if "subcommands" in commands.help_of((name,))]
    listed += [f"{group} {name}" for group in groups for name in re.findall(r"• ([\w-]+)", commands.help_of((group,)))]
    assert {"reconstruct", "prior", "prior sample", "benchmark accuracy"} <= set(listed)
    assert sorted(titles) == sorted(listed)


def test_what_a_page_would_load_from_a_network_is_found() -> None:
    for loaded in (
        '<script src="https://example.com/a.js"></script>',
        '<img alt="" src=//example.com/a.png>',
        '<link rel="stylesheet" href="http://example.com/a.css">',
        '<link href="https://example.com/" rel="preconnect">',
    ):
        assert pages.foreign(loaded), loaded
    for plain in (
        '<a href="https://example.com">x</a>',
        '<img src="a.png">',
        '<link rel="canonical" href="https://e.com">',
    ):
        assert pages.foreign(plain) == [], plain
