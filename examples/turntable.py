"""Draw a turning head from a result, without a display."""

from pathlib import Path

from protome.turntable import turntable

for name in ("turn.png", "turn.gif"):  # and turn.mp4, where PyAV is installed
    turntable(Path("build/me"), Path(name), views=4, size=64, quiet=True)
