"""Compare random people of the prior with the people that it was trained on.

    python benchmarks/draws.py --population DIR --latents prior.latents.safetensors --out docs/

Both are drawn by the same renderer: training people by their latents, random people by `Prior.sample`. A linear
classifier learns sex and length of hair from pictures of training people, is tested on people left out, and then
sees random people. Colours of skin (cheeks) and hair (the back of the head) are in the population's range where they
are as near to its people's as these are to each other. Writes prior_people.jpg: the random people.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from scipy.spatial import cKDTree
from skimage.color import rgb2lab

from command import command
from protome.benchmark.page import markdown
from protome.errors import InputError
from protome.gallery import Meshed, random_head, save_sheet
from protome.population.store import Population
from protome.preview import BACKGROUND, coloured_view, side_camera
from protome.prior.prior import FittedHead, HeadLatents, Prior
from protome.util.device import choose_device
from protome.util.engines import Processes, Work, in_order
from protome.util.files import check_output_folder
from protome.util.progress import progress

SIDES = (0.0, 90.0, 180.0)
"""Azimuths of the pictures, degrees."""
SEEN, CELLS = 96, 16
"""Pixels along each side of a picture, and cells into which it is averaged for the classifier."""
COMPONENTS, RIDGE = 60, 0.1
"""Principal components of the cells that the classifier sees, and its penalty of squared weights."""
LONG_MM = 100.0
"""Hair that reaches farther down from the top of the head is long; cropped hair never is."""
LEFT_OUT = 4
"""Every fourth of the training people tests the classifier."""
INSIDE = 0.95
"""Share of the population whose colours count as its range: the wanted share of random people, too."""


@dataclass(frozen=True)
class Options:
    """Options of the comparison."""

    population: Path
    """The population with expressions that the prior was trained on."""
    latents: Path
    """The latents that training left beside the prior."""
    out: Path
    """Folder for the picture."""
    prior: Path | None = None
    """The prior; if left out, the one that ships with the package."""
    known: int = 300
    """Training people who are drawn."""
    drawn: int = 64
    """Random people, numbered from 0."""
    size: int = 230
    """Pixels along each side of a tile."""
    resolution: int = 100
    """Cells of the drawn meshes along the longest side of the modelled volume."""
    jobs: int = 1
    """Processes, each with one thread."""
    quiet: bool = False
    """Show no progress."""


@dataclass(frozen=True)
class Looks:
    """What is measured of one person."""

    cells: Float[np.ndarray, "n"]
    """Averaged pictures, one after the other."""
    skin: Float[np.ndarray, "3"]
    """Median colour of the cheeks, CIELAB."""
    hair: Float[np.ndarray, "3"]
    """Median colour of the upper half of the head from behind, CIELAB; skin where it is bald."""


def looks(meshed: Meshed, prior: Prior) -> Looks:
    """Draw a person and measure the pictures."""
    head, field = meshed.head, meshed.head.bind()
    views = [coloured_view(meshed.mesh, field, side_camera(side, prior.bounds, SEEN))[0] for side in SIDES]
    step = SEEN // CELLS
    cells = [view.reshape(CELLS, step, CELLS, step, 3).mean((1, 3)).ravel() for view in views]
    marks = side_camera(SIDES[0], prior.bounds, SEEN).project(prior.landmarks_of(head.field, head.latents))
    cheeks = _cheeks(views[0], marks.numpy())
    behind = views[2].reshape(-1, 3)
    rows = np.flatnonzero((np.abs(views[2] - BACKGROUND) > 1e-3).any((1, 2)))
    upper = np.repeat(np.arange(SEEN), SEEN) < rows[0] + 0.25 * SEEN
    hair = behind[upper & (np.abs(behind - BACKGROUND) > 1e-3).any(1)]
    skin, hair = (rgb2lab(np.median(pixels, 0)[None])[0] for pixels in (cheeks, hair))
    return Looks(np.concatenate(cells), skin, hair)


def _cheeks(view: Float[np.ndarray, "s s 3"], marks: Float[np.ndarray, "6 2"]) -> Float[np.ndarray, "n 3"]:
    """Return the pixels around the middle between each inner eye corner and mouth corner, moved outwards."""
    found = []
    for eye, other, lips in ((0, 1, 4), (1, 0, 5)):
        x, y = 0.5 * (marks[eye] + marks[lips]) + 0.4 * (marks[eye] - marks[other])
        column, row = int(x), int(y)
        found.append(view[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3))
    return np.concatenate(found)


@dataclass(frozen=True)
class Classifier:
    """Logistic regression on principal components of pictures."""

    mean: Float[np.ndarray, "n"]
    components: Float[np.ndarray, "n k"]
    weights: Float[np.ndarray, "k"]
    offset: float

    @staticmethod
    def of(cells: Float[np.ndarray, "people n"], true: Bool[np.ndarray, "people"]) -> Classifier:
        """Learn to say whether something is true of people."""
        mean = cells.mean(0)
        _, sizes, directions = np.linalg.svd(cells - mean, full_matrices=False)
        components = directions[:COMPONENTS].T / (sizes[:COMPONENTS] / len(cells) ** 0.5)
        inputs, wanted = torch.from_numpy((cells - mean) @ components), torch.from_numpy(true).double()
        weights, offset = inputs.new_zeros(inputs.shape[1]).requires_grad_(), inputs.new_zeros(()).requires_grad_()
        optimiser = torch.optim.LBFGS([weights, offset], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            own = torch.nn.functional.binary_cross_entropy_with_logits(inputs @ weights + offset, wanted)
            total = own + RIDGE * weights.square().sum()
            total.backward()
            return total

        optimiser.step(loss)
        return Classifier(mean, components, weights.detach().numpy(), float(offset.detach()))

    def __call__(self, cells: Float[np.ndarray, "people n"]) -> Bool[np.ndarray, "people"]:
        """Say of each person whether it is true."""
        return (cells - self.mean) @ self.components @ self.weights + self.offset > 0


def in_range(own: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]) -> Bool[np.ndarray, "m"]:
    """Return which colours are as near to one of a population's as these are to their third nearest.

    The limit is the distance within which `INSIDE` of the population have two others.
    """
    tree = cKDTree(own)
    limit = np.quantile(tree.query(own, 3)[0][:, 2], INSIDE)
    return tree.query(others, 2)[0][:, 1] <= limit


Tile = Float[np.ndarray, "s s 3"]

_options: Options
_prior: Prior
_latents: dict[str, torch.Tensor]


def _prepare(options: Options) -> None:
    global _options, _prior, _latents  # one per process
    choose_device("cpu")
    torch.set_num_threads(1)
    _options, _prior, _latents = options, Prior.load(options.prior), load_file(options.latents)


def _drawn(number: int) -> tuple[Looks, Tile]:
    meshed = Meshed.of(random_head(_prior, number), _options.resolution)
    return looks(meshed, _prior), meshed.picture(_options.size)


def _known(person: int) -> Looks:
    latents = HeadLatents(_latents["shape"][person], _latents["appearance"][person])
    return looks(Meshed.of(FittedHead(_prior.field, latents, _prior.bounds), _options.resolution), _prior)


def row(name: str, true: Bool[np.ndarray, "people"], known: np.ndarray, drawn: np.ndarray) -> list[str]:
    """Return a line of the table: shares by label and by picture, and how often the classifier is right."""
    test = np.arange(len(true)) % LEFT_OUT == 0
    right = (Classifier.of(known[~test], true[~test])(known[test]) == true[test]).mean()
    learned = Classifier.of(known, true)
    share, own = learned(known).mean(), learned(drawn).mean()
    deviation = (share * (1 - share) / len(drawn)) ** 0.5
    return [name, f"{100 * right:.0f} %", *(f"{100 * value:.0f} %" for value in (true.mean(), share, own)),
            f"{(own - share) / max(deviation, 1e-9):+.1f}"]  # fmt: skip


def run(options: Options) -> None:
    """Draw both, print the tables and write the picture."""
    check_output_folder(options.out)
    if min(options.known, options.drawn) < 2 * LEFT_OUT:
        raise InputError(f"fewer than {2 * LEFT_OUT} people say nothing: give --known and --drawn more")
    population = Population(options.population, unfinished=True)
    if not population.facts:
        raise InputError(f"{options.population} has no labels: build it with `protome population build --expressions`")
    known_people = min(len(load_file(options.latents)["shape"]), population.count)
    people: Int[np.ndarray, "known"] = np.linspace(0, known_people - 1, min(options.known, known_people)).astype(int)
    facts = [population.facts[head] for head in population.first_heads[torch.from_numpy(people)].tolist()]
    total = len(people) + options.drawn
    engine = Processes(options.jobs)
    with progress("drawing", total, quiet=options.quiet) as step:
        pairs = in_order(engine, Work(_drawn, _prepare, (options,)), range(options.drawn), step)
        save_sheet([tile for _, tile in pairs], options.out / "prior_people.jpg")
        known = in_order(engine, Work(_known, _prepare, (options,)), people.tolist(), step)
    drawn = [person for person, _ in pairs]
    cells, new = (np.stack([person.cells for person in group]) for group in (known, drawn))
    labels = {
        "men": np.array([fact["sex"] == "male" for fact in facts]),
        "long hair": np.array([float(fact["hair_mm"]) > LONG_MM for fact in facts]),
    }
    header = ["", "classifier right", "of the labels", "of the pictures", f"of {options.drawn} random people",
              "difference, deviations"]  # fmt: skip
    print(markdown(header, [row(name, true, cells, new) for name, true in labels.items()]))
    print()
    rows = []
    for name in ("skin", "hair"):
        own, others = (np.stack([getattr(person, name) for person in group]) for group in (known, drawn))
        half = np.arange(len(own)) % 2 == 0
        rows.append([name, f"{100 * in_range(own, others).mean():.0f} %",
                     f"{100 * in_range(own[half], own[~half]).mean():.0f} %"])  # fmt: skip
    print(markdown(["colour", "random people in the population's range", "its one half in the other's"], rows))


def main() -> int:
    """Compare people by the options of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
