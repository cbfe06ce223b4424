"""The perception network that ships with the package, and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from protome.perception.network import PerceptionNet
from protome.perception.weights import network_of, stored_weights

ASSET = "perception.safetensors"
LEAST_PERSON_IOU, MOST_OTHERS_TAKEN = 0.93, 0.4
"""Scores on validation portraits, in the file's head, from which the parts are used. The portraits are degraded as in
training, so that photos as people take them are easier."""
LEAST_MEAN_IOU = 0.7
MOST_FACE_NME, MOST_SIGMAS = 2.0, 1.5
"""Scores up to which the landmarks are used: errors in per cent of the face's size, and over their deviations."""


@dataclass(frozen=True)
class Sight:
    """A network, and which of its answers are good enough to be used."""

    network: PerceptionNet
    uses_people: bool
    uses_landmarks: bool
    uses_front: bool

    @staticmethod
    def load(path: Path) -> Sight:
        """Read a network; the scores in its file's head decide what it is used for.

        A file without scores is used for nothing.

        Raises:
            InputError: the file is missing or of another kind.
        """
        tensors, about = stored_weights(path)
        return Sight(network_of(tensors), sees_people(about), sees_landmarks(about), sees_front(about))


def sees_people(about: dict[str, str]) -> bool:
    """Return whether the scores in a file's head allow to tell other people from the subject."""
    return _score(about, "person_iou", 0.0) >= LEAST_PERSON_IOU and (
        _score(about, "others_taken", 1.0) <= MOST_OTHERS_TAKEN
    )


def sees_front(about: dict[str, str]) -> bool:
    """Return whether the scores in a file's head allow to leave out things in front of the subject."""
    return sees_people(about) and _score(about, "mean_iou", 0.0) >= LEAST_MEAN_IOU


def sees_landmarks(about: dict[str, str]) -> bool:
    """Return whether the scores in a file's head allow the use of the landmarks."""
    return _score(about, "face_nme", 100.0) <= MOST_FACE_NME and _score(about, "sigmas", 100.0) <= MOST_SIGMAS


def _score(about: dict[str, str], name: str, otherwise: float) -> float:
    return float(about.get(name, otherwise))


@lru_cache(maxsize=1)
def packaged_sight() -> Sight | None:
    """Return the network that ships with the package; None where there is none or it is good for nothing."""
    path = Path(str(resources.files("protome") / "assets" / ASSET))
    if not path.is_file():
        return None
    sight = Sight.load(path)
    return sight if sight.uses_people or sight.uses_landmarks else None
