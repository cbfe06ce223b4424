"""Build the API reference from the docstrings: `python docs/api.py --out build/site/api`. A warning is an error."""

from __future__ import annotations

import argparse
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import protome

OUT = Path(__file__).resolve().parents[1] / "build" / "site" / "api"


def module_names() -> list[str]:
    """Return the names of all modules below the package."""
    return [module.name for module in pkgutil.walk_packages(protome.__path__, "protome.")]


def build(out: Path) -> None:
    """Write a page for the package and for each of its modules.

    Raises:
        Warning: a module cannot be imported, a public name does not resolve, or a type cannot be read.
        RuntimeError: a module has no page.
    """
    warnings.simplefilter("error")
    # pdoc shows the names that are loaded, and the modules that `__all__` lists.
    for name in protome.__all__:
        getattr(protome, name)
    own = [module.name for module in pkgutil.iter_modules(protome.__path__)]
    protome.__all__ += [name for name in own if name not in protome.__all__]
    pdoc.render.configure(docformat="google", search=True, footer_text=f"protome {protome.__version__}")
    pdoc.pdoc("protome", output_directory=out)
    pages = {".".join(path.relative_to(out).with_suffix("").parts) for path in out.rglob("*.html")}
    # pdoc takes a module `__main__` for the program that it is, without names of its own.
    missing = [name for name in ["protome", *module_names()] if name not in pages and not name.endswith(".__main__")]
    if missing:
        raise RuntimeError(f"no page was written for {missing}")


def main() -> int:
    """Build the reference into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="the folder to write")
    out = parser.parse_args().out
    build(out)
    print(f"The reference is in {out}: open {out / 'index.html'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
