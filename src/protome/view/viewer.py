"""The viewer itself: what stands in the scene, and the controls beside it."""

from __future__ import annotations

import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import viser
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.field.field import Field
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.extract import extract_mesh
from protome.prior.prior import FittedHead, Prior
from protome.units import UNIT_MM
from protome.view.content import Content, Posed, moved
from protome.view.slices import Axis, slice_of

M_PER_MM = 1e-3
"""The scene of the viewer is in metres."""
RESOLUTION = 120
"""Cells of the mesh along the longest side of the head's space: coarse, so that sliders answer soon."""
SLIDERS = 6
"""Principal axes of shape and of appearance that have a slider."""
MOST_DEVIATIONS = 3.0
FRUSTUM_M, LINE_M = 0.08, 0.0015
"""Size of a camera, and width of its lines."""
BLUE = (53, 132, 228)
LOOK_FROM, LOOK_AT = (0.5, 0.1, 0.75), (0.0, -0.06, -0.03)


Value = TypeVar("Value")


class Viewer:
    """A server of one head; the mesh follows the sliders."""

    def __init__(self, content: Content, prior: Prior, *, host: str, port: int) -> None:
        """Show the content at an address."""
        self.head, self.prior = content.head, prior
        self.shown = content.head
        self.server = viser.ViserServer(host, port, label=f"Protome: {content.title}", verbose=False)
        self.server.gui.configure_theme(show_share_button=False)  # it would send the head to another machine
        self.server.scene.set_up_direction("+y")
        self.server.initial_camera.position = LOOK_FROM
        self.server.initial_camera.look_at = LOOK_AT
        self.wanted = threading.Event()
        self.meshed = 0
        """How many meshes were made so far."""
        self._add_cameras(content.cameras)
        self._add_controls(content)
        threading.Thread(target=self._follow, daemon=True).start()
        self.wanted.set()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}/"

    def show(self, head: FittedHead) -> None:
        """Show another head, moved by the sliders as they are."""
        self.head = head
        self.wanted.set()

    def _reset(self) -> None:
        for slider in (*self.shape, *self.appearance):
            put(slider, 0.0)

    def _add_cameras(self, cameras: tuple[Posed, ...]) -> None:
        self.frusta = [
            self.server.scene.add_camera_frustum(
                f"/cameras/{number}", fov=_field_of_view(one.camera), aspect=one.camera.width / one.camera.height,
                scale=FRUSTUM_M, thickness=LINE_M, image=one.picture, color=BLUE, position=_position(one.camera),
                wxyz=_quaternion(one.camera.T_world_camera[:3, :3].double().numpy()),
            )
            for number, one in enumerate(cameras)
        ]  # fmt: skip
        for frustum, one in zip(self.frusta, cameras, strict=True):
            frustum.on_click(partial(self._stand, one.camera))

    def _stand(self, camera: Camera, event: viser.SceneNodePointerEvent) -> None:
        """Look from where a photo was taken, as it was."""
        position, pose = _position(camera), camera.T_world_camera.double().numpy()
        with event.client.atomic():
            event.client.camera.position = position
            event.client.camera.up_direction = -pose[:3, 1]
            event.client.camera.look_at = position + np.linalg.norm(position) * pose[:3, 2]
            event.client.camera.fov = _field_of_view(camera)

    def _add_controls(self, content: Content) -> None:
        gui = self.server.gui
        with gui.add_folder("Show"):
            options = ("Textured", "Field", "Neither") if content.textured else ("Field", "Neither")
            self.kind = gui.add_dropdown("Head", options)
            cameras = gui.add_checkbox(f"Cameras ({len(content.cameras)})", True)
        with gui.add_folder("Slice of the field"):
            self.axis = gui.add_dropdown("Across", ("none", "x", "y", "z"))
            self.place = gui.add_slider("Place", 0.0, 1.0, 0.01, 0.5)
        self.shape = self._sliders("Shape", len(self.prior.shape.axes))
        self.appearance = self._sliders("Appearance", len(self.prior.appearance.axes))
        reset = gui.add_button("Reset the sliders")
        self.textured = None
        if content.textured:
            self.textured = self.server.scene.add_glb("/textured", content.textured)
        self.kind.on_update(lambda _: self._choose())
        cameras.on_update(lambda _: self._show_cameras(cameras.value))
        for control in (self.axis, self.place):
            control.on_update(lambda _: self.wanted.set())
        for slider in (*self.shape, *self.appearance):
            slider.on_update(lambda _: self._slid())
        reset.on_click(lambda _: self._reset())

    def _sliders(self, label: str, count: int) -> list[viser.GuiSliderHandle[float]]:
        with self.server.gui.add_folder(f"{label}, standard deviations"):
            return [
                self.server.gui.add_slider(f"Axis {k + 1}", -MOST_DEVIATIONS, MOST_DEVIATIONS, 0.1, 0.0)
                for k in range(min(SLIDERS, count))
            ]

    def _show_cameras(self, visible: bool) -> None:
        for frustum in self.frusta:
            frustum.visible = visible

    def _slid(self) -> None:
        put(self.kind, "Field")
        self.wanted.set()

    def _choose(self) -> None:
        if self.textured is not None:
            self.textured.visible = self.kind.value == "Textured"
        self.wanted.set()

    def _follow(self) -> None:
        """Draw anew whenever something is wanted; what is wanted meanwhile is drawn at once, by its last state."""
        while True:
            self.wanted.wait()
            self.wanted.clear()
            shape, appearance = ([slider.value for slider in own] for own in (self.shape, self.appearance))
            head = moved(self.head, self.prior, shape, appearance)
            field = head.bind()
            self._draw_mesh(field, head)
            self._draw_slice(field, head)
            self.meshed += 1

    def _draw_mesh(self, field: Field, head: FittedHead) -> None:
        if self.kind.value != "Field":
            self.server.scene.add_frame("/field", show_axes=False, visible=False)
            return
        try:
            mesh = extract_mesh(field, head.bounds, RESOLUTION).scaled(UNIT_MM * M_PER_MM)
        except ValueError:
            return  # latents without a surface: the last one stays
        self.server.scene.add_glb("/field", _glb(mesh))

    def _draw_slice(self, field: Field, head: FittedHead) -> None:
        if self.axis.value == "none":
            self.server.scene.add_frame("/slice", show_axes=False, visible=False)
            return
        own = slice_of(field.sdf, head.bounds, cast(Axis, self.axis.value), self.place.value)
        turn = np.stack([own.right, own.down, np.cross(own.right, own.down)], 1)
        self.server.scene.add_image(
            "/slice", own.picture, M_PER_MM * own.width, M_PER_MM * own.height, position=M_PER_MM * own.centre,
            wxyz=_quaternion(turn),
        )  # fmt: skip


def put(control: viser.GuiInputHandle[Value], value: Value) -> None:
    """Set a control, as a user does."""
    control.value = value  # type: ignore[misc]  # viser declares the setter where mypy does not look


def _glb(mesh: Mesh) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.glb"
        mesh.save(path)
        return path.read_bytes()


def _position(camera: Camera) -> Float[np.ndarray, "3"]:
    return M_PER_MM * camera.T_world_camera[:3, 3].double().numpy()


def _field_of_view(camera: Camera) -> float:
    """Return the vertical angle of a camera's view, radians."""
    return float(2 * np.arctan(camera.height / (2 * float(camera.K[1, 1]))))


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Return a rotation as w, x, y, z."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])
