"""Hooks of the site's builder: pages that are generated, links that leave `docs/`, and nothing from any network.

Pages in `docs/` are read in the repository too, so they link to files such as `../NOTICE.md`. In the site those are
pages of their own, or names without a link.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))  # the builder loads this file by its path

import commands  # noqa: E402

COPIES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "NOTICE.md": "notice.md"}
"""Pages of the site that lie outside `docs/`."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
MARK = re.compile(r"^( *)<!-- test: ([^>]+) -->\n", re.MULTILINE)
NEEDS = "needs "
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*?\ssrc=\"?(?:https?:)?//[^\s\">]+"
    r"|<link\b(?=[^>]*rel=\"?(?:stylesheet|icon|preload|preconnect))[^>]*href=\"?(?:https?:)?//[^\s\">]+"
)
"""What a browser would load from a network as soon as it shows a page."""


def examples() -> str:
    """Return the page of all scripts in `examples/`, each with its first sentence."""
    parts = ["# Examples in Python\n\nScripts in `examples/`, each about ten lines. Tests run all of them.\n"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        words = ast.get_docstring(ast.parse(text))
        if not words:
            raise PluginError(f"{path} says nothing about itself: give it a docstring")
        code = text.split('"""', 2)[2].strip()
        parts.append(f"## {path.stem.replace('_', ' ').capitalize()}\n\n{words}\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def linked(text: str, source: str) -> str:
    """Return a page whose links are those of the site; `source` is its path below the repository.

    A link to a file that is in the site is one to its page. One to another file of the repository becomes its name.

    Raises:
        PluginError: there is no such file.
    """
    own = posixpath.dirname(place(source) or "")

    def at(found: re.Match[str]) -> str:
        picture, words, address, anchor = found[1], found[2], found[3], found[4] or ""
        if not address or "://" in address or address.startswith("mailto:"):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        page = place(target)
        if page is None:
            if not (ROOT / target).exists():
                raise PluginError(f"{source} links to {address}, which is not there")
            return words
        return f"{picture}[{words}]({posixpath.relpath(page, own or '.')}{anchor})"

    return LINK.sub(at, text)


def place(path: str) -> str | None:
    """Return where the site has a file of the repository; None where it has not."""
    if path in COPIES:
        return COPIES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and not path.endswith(".py") else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {"reference/commands.md": commands.page(), "examples.md": examples()}
    for name, page in COPIES.items():
        made[page] = linked((ROOT / name).read_text(encoding="utf-8"), name)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links out of `docs/` into the site's, and marks of tests into words where a block is not tested."""
    path = page.file.src_uri
    text = markdown if path in COPIES.values() else linked(markdown, f"docs/{path}")

    def said(mark: re.Match[str]) -> str:
        return f"{mark[1]}*This {mark[2]}, and is not run by the tests.*\n\n" if mark[2].startswith(NEEDS) else ""

    return MARK.sub(said, text)


def foreign(text: str) -> list[str]:
    """Return what a page would load from a network."""
    return [found[0] for found in LOADED.finditer(text)]


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would load anything from a network.

    Raises:
        PluginError: a page does.
    """
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := foreign(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} loads {found[0]} from a network")
