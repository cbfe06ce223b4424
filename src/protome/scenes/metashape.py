"""Scenes of Agisoft Metashape: an XML file of its cameras (File > Export > Export Cameras) beside the images.

Sources: Metashape's manual, appendix "Camera models", and files that it writes. A sensor's calibration has `f`, `cx`,
`cy` (pixels, from the image's centre), `k1` to `k4`, `p1`, `p2`, `b1` and `b2`, which are zero where they are missing.
A camera's transform maps camera coordinates with OpenCV's axes to the chunk; the chunk's and the component's own
transforms map that to the world. Pixel centres lie at +0.5. In OpenCV's order p1 and p2 are exchanged.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.distortion import Distortion
from protome.scenes.lens import Lens
from protome.scenes.pictures import choose
from protome.scenes.posed_file import PosedFile, find_image, mask_of, rigid

KINDS = ("frame", "fisheye")
GEOCENTRIC = 1e6
"""Units; a world that lies farther from its origin is in coordinates of the whole Earth, in which single precision
resolves no head. Then the scene stays in the frame of the chunk, in the world's unit."""


def find_metashape(folder: str | Path) -> Path | None:
    """Return the file of Metashape's cameras in a folder, or None: an XML file whose document holds sensors."""
    for path in sorted(Path(folder).glob("*.xml")):
        try:
            # Only the first elements: exports with tie points are large.
            for _, element in ElementTree.iterparse(path, ("start",)):
                if element.tag in ("sensors", "cameras"):
                    return path
                if element.tag not in ("document", "chunk"):
                    break
        except (OSError, ElementTree.ParseError):
            continue
    return None


def read_metashape(
    folder: str | Path, names: Sequence[str] | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Cameras that were not aligned are left out.

    Raises:
        InputError: a file is missing or cannot be read; an unknown kind of sensor; no camera was aligned; or no image
            has a wanted name.
    """
    folder = Path(folder)
    source = find_metashape(folder)
    if source is None:
        raise InputError(
            f"{folder} has no XML file of Metashape's cameras: export them by File > Export > Export Cameras"
        )
    try:
        chunk = ElementTree.parse(source).getroot().find("chunk")
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{source} cannot be read as XML: export the cameras again") from error
    cameras = [] if chunk is None else [one for one in chunk.iter("camera") if one.find("transform") is not None]
    if chunk is None or not cameras:
        raise InputError(f"{source} has no aligned cameras: align the photos in Metashape and export the cameras again")
    cameras.sort(key=lambda camera: camera.get("label", ""))
    chosen = choose([camera.get("label", "") for camera in cameras], names, source)
    return tuple(_posed_file(folder, source, chunk, cameras[i], outside).read() for i in chosen)


def _posed_file(
    folder: Path, source: Path, chunk: ElementTree.Element, camera: ElementTree.Element, outside: bool
) -> PosedFile:
    label = camera.get("label", "")
    image = find_image(folder, label, source)
    try:
        pose = rigid(np.array(_numbers(camera.find("transform"))).reshape(4, 4))
        scale, world = _world(chunk, camera.get("component_id"))
        pose[:3, 3] *= scale
        pose = rigid(world @ pose)
    except ValueError as error:
        raise InputError(f"the transform of {label} in {source} is no camera pose: export the cameras again") from error
    lens, inside = _lens(chunk, camera, source), None if outside else folder
    return PosedFile(image.name, image, mask_of(folder, image), lens, pose, inside)


def _world(chunk: ElementTree.Element, component: str | None) -> tuple[float, Float[np.ndarray, "4 4"]]:
    """Return scale and rigid transform from the chunk to the world.

    Raises:
        ValueError: they are no numbers.
    """
    own = [one for one in chunk.iter("component") if one.get("id") == component]
    transform = next((found for one in (*own, chunk) if (found := one.find("transform")) is not None), None)
    rotation = _numbers(None if transform is None else transform.find("rotation"))
    translation = _numbers(None if transform is None else transform.find("translation"))
    scale = _numbers(None if transform is None else transform.find("scale"))
    world = np.eye(4)
    if np.linalg.norm(translation) < GEOCENTRIC:
        world[:3, :3] = np.array(rotation).reshape(3, 3) if rotation else np.eye(3)
        world[:3, 3] = translation if translation else 0.0
    return (scale[0] if scale else 1.0), world


def _lens(chunk: ElementTree.Element, camera: ElementTree.Element, source: Path) -> Lens:
    """Return the lens of a camera's sensor.

    Raises:
        InputError: the sensor is missing, of another kind, or has no calibration.
    """
    label = camera.get("label", "")
    sensor = next((one for one in chunk.iter("sensor") if one.get("id") == camera.get("sensor_id")), None)
    kind = "" if sensor is None else sensor.get("type", "frame")
    calibrations = [] if sensor is None else sensor.findall("calibration")
    adjusted = [one for one in calibrations if one.get("class") == "adjusted"] or calibrations
    if kind not in KINDS or not adjusted:
        raise InputError(
            f"{source} gives {label} a {kind or 'missing'} sensor{'' if adjusted else ' without calibration'}: export "
            "cameras of calibrated frame or fisheye sensors"
        )
    assert sensor is not None

    def number(key: str) -> float:
        found = _numbers(adjusted[0].find(key))
        return found[0] if found else 0.0

    resolution = adjusted[0].find("resolution")
    resolution = sensor.find("resolution") if resolution is None else resolution
    try:
        sizes = {} if resolution is None else resolution.attrib
        width, height = int(sizes.get("width", 0)), int(sizes.get("height", 0))
        middle = (width / 2 + number("cx"), height / 2 + number("cy"))
        radial = tuple(number(key) for key in ("k1", "k2", "k3", "k4"))
        tangential = (number("p2"), number("p1"))
        distortion = Distortion(radial, tangential, base="angle" if kind == "fisheye" else "plane")
        if not width or not height:
            raise ValueError("no resolution")
        return Lens.of((number("f") + number("b1"), number("f")), middle, distortion, (width, height), number("b2"))
    except ValueError as error:
        raise InputError(f"{source} gives {label} no usable calibration: export the cameras again") from error


def _numbers(element: ElementTree.Element | None) -> list[float]:
    """Return the numbers of an element's text; none where there is no element.

    Raises:
        ValueError: the text holds other words.
    """
    return [] if element is None else [float(word) for word in (element.text or "").split()]
