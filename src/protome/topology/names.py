"""ARKit's names of the 52 coefficients of a face, and what ICT-FaceKit calls the same expressions."""

from __future__ import annotations

SIDES = ("Left", "Right")

LOOKS = ("eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut")
"""Turns of an eyeball: In is towards the nose."""


def _pair(stem: str) -> tuple[str, str]:
    return f"{stem}Left", f"{stem}Right"


ARKIT = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthRight", "mouthLeft", *_pair("mouthSmile"), *_pair("mouthFrown"), *_pair("mouthDimple"),
    *_pair("mouthStretch"), "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    *_pair("mouthPress"), *_pair("mouthLowerDown"), *_pair("mouthUpperUp"), *_pair("browDown"), "browInnerUp",
    *_pair("browOuterUp"), "cheekPuff", *_pair("cheekSquint"), *_pair("noseSneer"), "tongueOut",
)  # fmt: skip
"""In the order of Live Link Face's columns (Apple, ARFaceAnchor.BlendShapeLocation)."""

BOTH_SIDES = ("browInnerUp", "cheekPuff")
"""Coefficients that ICT-FaceKit has one of for each side."""
TONGUE_OUT = "tongueOut"
"""The only one that ICT-FaceKit has no shape for."""


def ict_units(name: str) -> tuple[str, ...]:
    """Return the units of ICT-FaceKit whose sum is one of `ARKIT`; none for the tongue."""
    if name == TONGUE_OUT:
        return ()
    if name in BOTH_SIDES:
        return f"{name}_L", f"{name}_R"
    for side, end in zip(SIDES, ("_L", "_R"), strict=True):
        stem = name.removesuffix(side)
        if stem != name and stem not in ("jaw", "mouth"):
            return (stem + end,)
    return (name,)
