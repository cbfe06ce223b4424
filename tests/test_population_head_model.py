"""The packaged head model's making: components of people whose variation is known, and the file that is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.errors import InputError
from protome.morphable.linear import load_builtin, load_linear
from protome.population.head_model import build as head_model
from protome.population.head_model.build import HeadModelConfig, _identities, write_head_model
from protome.population.head_model.shapes import HeadShapes
from protome.population.head_model.topology import HeadTopology


class _Topology(HeadTopology):
    """A head that is the whole body."""

    def __init__(self, vertices: int) -> None:
        object.__setattr__(self, "bulge", np.zeros(vertices))

    def shape(self, body: np.ndarray) -> np.ndarray:
        return body


class _Shapes(HeadShapes):
    """People who vary along known fields."""

    known: tuple[np.ndarray, np.ndarray]

    def __init__(self, base: np.ndarray, fields: np.ndarray) -> None:
        object.__setattr__(self, "known", (base, fields))

    def stream(self, seed: int) -> Iterator[np.ndarray]:
        base, fields = self.known
        own = np.random.default_rng(seed)
        while True:
            yield base + np.tensordot(own.normal(size=len(fields)), fields, 1)


def test_components_are_one_standard_deviation_of_the_people_drawn() -> None:
    """Points near the nose, displaced along two fields with deviations of 6 and 2 mm."""
    rng = np.random.default_rng(0)
    base = np.vstack([[0.0, 0.0, 0.05], rng.uniform(-0.03, 0.03, (30, 3))])
    fields = np.linalg.qr(rng.normal(size=(93, 2)))[0].T.reshape(2, 31, 3)
    fields[:, 0] = 0
    fields *= np.array([0.006, 0.002])[:, None, None]
    shapes, topology = _Shapes(base, fields), _Topology(31)
    config = HeadModelConfig(people=400, identities=2, pictures=1, seed=3)
    mean, axes = _identities(shapes, topology, config, quiet=True)
    np.testing.assert_allclose(mean, 1000 * base, atol=0.4)
    for own, field in zip(axes, fields, strict=True):
        wanted = 1000 * field
        # Of 400 people, deviations are known to a twentieth.
        assert abs((own * wanted).sum()) / (wanted**2).sum() == pytest.approx(1, abs=0.12)
        assert np.linalg.norm(own) == pytest.approx(np.linalg.norm(wanted), rel=0.12)
    again = _identities(shapes, topology, config, quiet=True)[1]
    np.testing.assert_array_equal(axes, again)


def test_the_file_holds_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def build(sources: object, cache: object, config: HeadModelConfig, *, quiet: bool) -> object:
        asked.append(config)
        return load_builtin()

    monkeypatch.setattr(head_model, "build_head_model", build)
    out = tmp_path / "model.npz"
    write_head_model(out, valid=tmp_path, ict=tmp_path)
    assert asked == [HeadModelConfig()]
    read, shipped = load_linear(out), load_builtin()
    assert float((read.template - shipped.template).abs().max()) < 0.1  # half precision, millimetres
    assert torch.equal(read.faces, shipped.faces)
    assert read.identity.shape == shipped.identity.shape
    assert f"{len(shipped.template)} vertices" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (HeadModelConfig(people=5, identities=5), "5 identity components cannot be learned from 5 people"),
        (HeadModelConfig(identities=0), "0 identity components"),
        (HeadModelConfig(pictures=0), "0 pictures show no landmarks"),
    ],
)
def test_numbers_that_make_no_model_are_refused(tmp_path: Path, config: HeadModelConfig, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_head_model(tmp_path / "m.npz", valid=tmp_path, ict=tmp_path, config=config)
