"""Libraries that this package needs and that cannot be loaded, in a sentence."""

from __future__ import annotations

from importlib import metadata


def what_to_install(error: ImportError) -> str | None:
    """Return a sentence on a library that cannot be imported; None if the error is this package's own.

    OpenCV is the usual case: the build that MediaPipe asks for needs libGL, which Linux without a desktop lacks.
    """
    library = (error.name or "protome").partition(".")[0]
    if library == "protome":
        return None
    reason = f"{library} cannot be loaded ({str(error).strip() or 'no reason given'})"
    if library == "cv2":
        return f"{reason}: run `{_headless_opencv()}`, which needs no system library"
    return f"{reason}: install Protome with all that it needs, by `pip install .` in its folder or of its wheel"


def _headless_opencv() -> str:
    # The same version as before: newer ones ask for a newer numpy than MediaPipe does.
    try:
        version = "==" + metadata.version("opencv-contrib-python")
    except metadata.PackageNotFoundError:
        version = ""
    return f"pip install --force-reinstall --no-deps opencv-python-headless{version}"
