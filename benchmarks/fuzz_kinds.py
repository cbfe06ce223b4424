"""The kinds of files that commands read from outside, each as a small valid case and the reader that commands use."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from protome.app.upload import keep
from protome.batch.manifest import read_subjects
from protome.batch.places import Place
from protome.capture.inputs import load_photos
from protome.capture.photo import load_photo
from protome.errors import InputError
from protome.evaluate.h3ds import read_scene as read_truth
from protome.evaluate.landmarks import MarkedMesh, load_mesh
from protome.evaluate.now import list_images
from protome.field.head import HeadField
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.morphable.flame import load_flame
from protome.morphable.ict_files import IctModel
from protome.morphable.linear import load_builtin, load_linear
from protome.perception.weights import load_network
from protome.population.store import HeadRecord, Manifest, Population, shard_path, write_manifest, write_shard
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.prior.prior import FittedHead, HeadLatents, load_fitted, save_head
from protome.scene import View
from protome.scenes.export import write_colmap, write_nerfstudio
from protome.scenes.h3ds import Truth, write_h3ds
from protome.scenes.idr import write_idr
from protome.scenes.masks import read_mask_values
from protome.scenes.scene_folder import read_scene
from protome.topology.track import Track
from protome.training.train import CONFIGS


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    write: Callable[[Path], list[Path]]
    """Writes a valid case into a folder and returns the files to damage, one of them each time."""
    read: Callable[[Path, Path], object]
    """Reads the case, given its folder and the damaged file."""


def picture(size: tuple[int, int] = (80, 72), seed: int = 0) -> np.ndarray:
    """Return smooth random colours (h, w, 3)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC))


def views(count: int = 2) -> list[View]:
    """Return posed pictures with masks."""
    mask = torch.zeros(72, 80)
    mask[20:, 20:60] = 1
    eye = [torch.tensor([0.3 * k, 0.1, 4.0]) for k in range(count)]
    cameras = [Camera.look_at(place, torch.zeros(3), 90.0, 80, 72) for place in eye]
    images = [torch.from_numpy(picture(seed=k).copy()).float() / 255 for k in range(count)]
    return [View(f"img_{k:04d}.png", images[k], mask, cameras[k]) for k in range(count)]


def _photos(folder: Path) -> list[Path]:
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112], exif[0xA405], exif[0x010F] = 6, 50, "maker"
    plain = {"a.jpg": {"exif": exif}, "b.png": {"exif": exif}, "c.webp": {}, "d.tif": {"compression": "tiff_lzw"}}
    for name, options in plain.items():
        image.save(folder / name, **options)  # type: ignore[arg-type]
    image.convert("RGBA").save(folder / "e.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "f.png")
    image.convert("P").save(folder / "g.png")
    image.convert("CMYK").save(folder / "h.jpg")
    image.save(folder / "i.bmp")
    image.save(folder / "j.avif")
    found = sorted(folder.iterdir())
    try:
        import pillow_heif
    except ImportError:
        return found
    pillow_heif.register_heif_opener()
    image.save(folder / "k.heic")
    return sorted(folder.iterdir())


def _masks(folder: Path) -> list[Path]:
    mask = np.zeros((72, 80), np.uint8)
    mask[20:, 20:60] = 255
    Image.fromarray(mask).save(folder / "a.png")
    Image.fromarray(mask.astype(np.uint16) * 257).save(folder / "b.png")
    Image.fromarray(np.dstack([picture(), mask])).save(folder / "c.png")
    Image.fromarray(mask).convert("1").save(folder / "d.tif")
    return sorted(folder.iterdir())


def _idr(folder: Path) -> list[Path]:
    write_idr(folder, views())
    return [folder / "cameras.npz"]


def _nerfstudio(folder: Path) -> list[Path]:
    write_nerfstudio(folder, views())
    return [folder / "transforms.json"]


def _colmap(folder: Path) -> list[Path]:
    write_colmap(folder, views())
    return [folder / "sparse/0/cameras.txt", folder / "sparse/0/images.txt"]


def _colmap_binary(folder: Path) -> list[Path]:
    cameras, images = _colmap(folder)
    binary = [cameras.with_suffix(".bin"), images.with_suffix(".bin")]
    binary[0].write_bytes(struct.pack("<QIiQQ8d", 1, 1, 4, 80, 72, 90, 90, 40, 36, 0.01, 0, 0, 0))
    poses = [struct.pack("<I7dI", k + 1, 1, 0, 0, 0, 0.1 * k, 0, 4, 1) for k in range(2)]
    points = struct.pack("<Qddq", 1, 3.0, 4.0, -1)
    named = [pose + f"img_{k:04d}.png\0".encode() + points for k, pose in enumerate(poses)]
    binary[1].write_bytes(struct.pack("<Q", 2) + b"".join(named))
    return binary


def _opencv_cameras(folder: Path) -> list[Path]:
    _nerfstudio(folder)
    (folder / "transforms.json").unlink()
    own = {"w": 80, "h": 72, "fx": 90.0, "fy": 90.0, "cx": 40.0, "cy": 36.0, "w2c": np.eye(4).tolist()}
    frames = [own | {"file_path": f"images/img_{k:04d}.png"} for k in range(2)]
    (folder / "opencv_cameras.json").write_text(json.dumps({"frames": frames}))
    return [folder / "opencv_cameras.json"]


def _metashape(folder: Path) -> list[Path]:
    _opencv_cameras(folder)
    (folder / "opencv_cameras.json").unlink()
    numbers = " ".join(str(float(value)) for value in np.eye(4).ravel())
    size = '<resolution width="80" height="72"/>'
    sensor = f'<sensor id="0" type="frame">{size}<calibration class="adjusted">{size}<f>90</f><k1>0.01</k1>'
    cameras = "".join(
        f'<camera id="{k}" sensor_id="0" label="img_{k:04d}"><transform>{numbers}</transform></camera>'
        for k in range(2)
    )
    (folder / "cameras.xml").write_text(
        f'<document version="2.0.0"><chunk><sensors>{sensor}</calibration></sensor></sensors>'
        f"<cameras>{cameras}</cameras></chunk></document>"
    )
    return [folder / "cameras.xml"]


def _realityscan(folder: Path) -> list[Path]:
    _opencv_cameras(folder)
    (folder / "opencv_cameras.json").unlink()
    rows = [f"img_{k:04d}.png,{k},0,1,10,90,0,40,0,0,0.01,0,0,0,0,0" for k in range(2)]
    head = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"
    (folder / "cameras.csv").write_text("\n".join([head, *rows]) + "\n")
    return [folder / "cameras.csv"]


def _ball(subdivisions: int = 1) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions, 50.0)
    vertices = np.array(ball.vertices, np.float64)
    return Mesh(vertices, np.array(ball.faces, np.int64), np.full((len(vertices), 3), 0.5), vertices / 50)


def _h3ds(folder: Path) -> list[Path]:
    names = ("right_eye", "left_eye", "nose_tip", "nose_base", "right_lips", "left_lips")
    own = folder / "scenes" / "001"
    regions = {"face": np.arange(9), "nose": np.arange(4)}
    write_h3ds(own, views(), Truth(_ball(), {name: k for k, name in enumerate(names)}, regions))
    config = folder / "scenes" / "config.toml"
    config.write_text('[scenes.001]\ndefault_views_configs = { "2" = [0, 1] }\n')
    parts = ("full_head.obj", "landmarks.txt", "regions/face.txt", "regions/nose.txt", "cameras.npz")
    return [config, *(own / part for part in parts)]


def _read_h3ds(folder: Path, _: Path) -> object:
    own = folder / "scenes" / "001"
    return read_scene(own, ["2"]), read_truth(own)


def _now(folder: Path) -> list[Path]:
    data, made = folder / "data", folder / "made" / "S1" / "selfie"
    for place in (data / "scans" / "S1", data / "scans_lmks_onlypp" / "S1", made):
        place.mkdir(parents=True)
    (data / "imagepathsvalidation.txt").write_text("S1/selfie/a.jpg\nS1/selfie/b.jpg\n")
    _ball().save(data / "scans/S1/s.obj")
    points = "".join(f'<point x="{k}" y="{k * k}" z="1" active="1" name="{k}"/>' for k in range(7))
    (data / "scans_lmks_onlypp/S1/s.pp").write_text(f"<!DOCTYPE PickedPoints><PickedPoints>{points}</PickedPoints>")
    _ball().save(made / "a.obj")
    np.save(made / "a.npy", np.arange(21.0).reshape(7, 3))
    _ball().save(made / "b.ply")
    (made / "b.txt").write_text("\n".join(f"{k} {k * k} 2" for k in range(7)) + "\n")
    (folder / "names.json").write_text(json.dumps({"landmarks": {"nose_tip": 3, "left_eye": [1.0, 2.0, 3.0]}}))
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _read_now(folder: Path, _: Path) -> object:
    images = list_images(folder / "made", folder / "data").images
    named = MarkedMesh.load(folder / "made/S1/selfie/b.ply", folder / "names.json")
    pairs = [
        (MarkedMesh.load(one.mesh, one.landmarks), MarkedMesh.load(one.scan, one.scan_landmarks)) for one in images
    ]
    return named, pairs


def _meshes(folder: Path) -> list[Path]:
    mesh = _ball()
    rich = Mesh(mesh.vertices, mesh.faces, mesh.colours, mesh.normals, np.ones(len(mesh.vertices)))
    for suffix in (".ply", ".obj", ".glb"):
        rich.save(folder / f"mesh{suffix}")
    plain = mesh.to_trimesh()
    plain.export(folder / "text.ply", encoding="ascii")
    plain.export(folder / "mesh.stl")
    plain.export(folder / "text.stl", file_type="stl_ascii")
    plain.export(folder / "mesh.off")
    return sorted(folder.iterdir())


def _field(folder: Path) -> list[Path]:
    field = HeadField(CONFIGS["tiny"].field)
    latents = HeadLatents(*torch.zeros(2, field.config.latent))
    save_head(folder / "field.safetensors", FittedHead(field, latents, torch.zeros(2, 3)), [torch.eye(4)])
    return [folder / "field.safetensors"]


def _network(folder: Path) -> list[Path]:
    shipped = resources.files("protome") / "assets" / "perception.safetensors"
    (folder / "perception.safetensors").write_bytes(shipped.read_bytes())
    return [folder / "perception.safetensors"]


def _flame(folder: Path) -> list[Path]:
    random, ball = np.random.default_rng(5), trimesh.creation.icosphere(1, 0.1)
    count, faces = len(ball.vertices), len(ball.faces)
    data = {
        "v_template": np.array(ball.vertices), "f": np.array(ball.faces, np.uint32),
        "shapedirs": random.normal(0, 1e-3, (count, 3, 310)), "posedirs": random.normal(0, 1e-3, (count, 3, 36)),
        "J_regressor": random.dirichlet(np.ones(count), 5), "weights": random.dirichlet(np.ones(5), count),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
    }  # fmt: skip
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(data, 2))
    landmarks = {
        "static_lmk_faces_idx": random.integers(faces, size=51),
        "static_lmk_bary_coords": random.dirichlet([1, 1, 1], 51),
        "dynamic_lmk_faces_idx": random.integers(faces, size=(79, 17)),
        "dynamic_lmk_bary_coords": random.dirichlet([1, 1, 1], (79, 17)),
    }
    np.save(folder / "landmark_embedding.npy", landmarks, allow_pickle=True)  # type: ignore[arg-type]
    return [folder / "generic_model.pkl", folder / "landmark_embedding.npy"]


def _linear(folder: Path) -> list[Path]:
    model = load_builtin()
    count = len(model.template)
    np.savez(
        folder / "face.npz", name=np.array("small"), template=model.template.numpy(), faces=model.faces.numpy(),
        identity=np.zeros((1, count, 3), np.float32), landmark_faces=model.landmarks.faces.numpy(),
        landmark_weights=model.landmarks.weights.numpy(), landmark_deviations=model.landmarks.deviations.numpy(),
    )  # fmt: skip
    return [folder / "face.npz"]


def _ict(folder: Path) -> list[Path]:
    np.savez(
        folder / "ict_facekit.npz", faces=np.zeros((2, 4, 2), np.int64), expression_names=np.array(["smile"]),
        neutral=np.zeros((9, 3)), identity=np.zeros((2, 9, 3)), expression=np.zeros((1, 9, 3)),
    )  # fmt: skip
    return [folder / "ict_facekit.npz"]


def _population(folder: Path) -> list[Path]:
    rng = np.random.default_rng(3)

    def unit() -> np.ndarray:
        vectors = rng.normal(size=(50, 3))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def inside() -> np.ndarray:
        return rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (50, 3))

    def head(number: int) -> HeadRecord:
        own = HeadSamples(
            inside(), unit(), rng.integers(0, 256, (50, 3)).astype(np.uint8), unit(), inside(), rng.random(50) < 0.5,
            inside(), rng.uniform(-0.1, 0.3, 50), rng.uniform(-0.1, 0.1, (6, 3)),
        )  # fmt: skip
        return HeadRecord(f"head {number}", own, rng.normal(size=4), rng.normal(size=2))

    write_manifest(folder, Manifest(7, {"train": 3}, 2, 50, {"where": ["from", 3]}))
    for number, heads in enumerate(([head(0), head(1)], [head(2)])):
        write_shard(shard_path(folder, "train", number), heads)
    return [folder / "manifest.json", *sorted(folder.glob("*.h5"))]


def _read_population(folder: Path, _: Path) -> object:
    people = Population(folder)
    return people.batch(np.arange(len(people)), 8, 8, np.random.default_rng(0)), people.samples(0)


def _lists(folder: Path) -> list[Path]:
    rows = [{"id": f"s{k}", "photos": [f"{k}.jpg"], "preset": "draft"} for k in range(3)]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    lines = ["id,photos,preset,scan", *(f"s{k},{k}.jpg;{k}b.jpg,draft,{k}.ply" for k in range(3))]
    (folder / "b.csv").write_text("\n".join(lines) + "\n")
    files = [folder / "a.jsonl", folder / "b.csv"]
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return files
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "c.parquet")
    return [*files, folder / "c.parquet"]


def _read_list(folder: Path, file: Path) -> object:
    return read_subjects(str(file), Place(str(folder / "out")), {})


def _read_upload(folder: Path, file: Path) -> object:
    job = folder / "job"
    job.mkdir(exist_ok=True)
    for old in job.iterdir():
        old.unlink()
    with file.open("rb") as sent:
        kept = keep([(f"../{file.name}", sent)], job)
    return load_photos([job / one.stored for one in kept])


def _tracks(folder: Path) -> list[Path]:
    (folder / "a.json").write_text(json.dumps({"fps": 30, "frames": [{"jawOpen": 0.5}, {"eyeBlinkLeft": 1}]}))
    (folder / "b.csv").write_text("Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen\n0,61,0.5,0.25\n1,61,0,1\n")
    return [folder / "a.json", folder / "b.csv"]


def _scene(folder: Path, _: Path) -> object:
    return read_scene(folder)


KINDS: dict[str, Kind] = {
    "photos": Kind(_photos, lambda _, file: load_photo(file)),
    "masks": Kind(_masks, lambda _, file: read_mask_values(file)),
    "cameras.npz": Kind(_idr, _scene),
    "transforms.json": Kind(_nerfstudio, _scene),
    "colmap-text": Kind(_colmap, _scene),
    "colmap-binary": Kind(_colmap_binary, _scene),
    "opencv_cameras.json": Kind(_opencv_cameras, _scene),
    "metashape": Kind(_metashape, _scene),
    "realityscan": Kind(_realityscan, _scene),
    "h3ds": Kind(_h3ds, _read_h3ds),
    "now": Kind(_now, _read_now),
    "meshes": Kind(_meshes, lambda _, file: (load_mesh(file), file.suffix == ".glb" and Mesh.load(file))),
    "field.safetensors": Kind(_field, lambda _, file: load_fitted(file).bind()),
    "perception.safetensors": Kind(_network, lambda _, file: load_network(file)),
    "flame": Kind(_flame, lambda folder, _: load_flame(folder)),
    "model.npz": Kind(_linear, lambda _, file: load_linear(file)),
    "ict": Kind(_ict, lambda folder, _: IctModel.load(folder)),
    "population": Kind(_population, _read_population),
    "lists": Kind(_lists, _read_list),
    "uploads": Kind(_photos, _read_upload),
    "tracks": Kind(_tracks, lambda _, file: Track.load(file)),
}
"""By name, as the command line has them."""


def outcome(kind: Kind, folder: Path, file: Path) -> tuple[str, str]:
    """Read a case and return what became of it, "read", "refused" or another word, and what was said.

    "refused" is one sentence of the project that names a file or folder of the case.
    """
    try:
        kind.read(folder, file)
    except InputError as error:
        said = str(error)
        if "\n" in said or not (str(folder) in said or file.name in said):
            return "sentence", said
        return "refused", said
    except Exception as error:
        return "traceback", repr(error)
    return "read", ""
