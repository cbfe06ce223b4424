"""The six landmarks of a face that priors, scenes and measures share; left and right are the subject's."""

LANDMARK_NAMES = ("right_eye", "left_eye", "nose_tip", "nose_base", "right_lips", "left_lips")
"""As in H3DS: inner eye corners, tip and base of the nose, mouth corners."""
NOSE_TIP = LANDMARK_NAMES.index("nose_tip")
