"""The word for a subject's inputs and options, which a batch gives to the subject's process and its result keeps."""

from __future__ import annotations

import os

SWITCH = "PROTOME_CONTENT_HASH"
"""The variable of the environment that holds it."""
KEY = "content_hash"
"""Its entry in result.json."""


def content_facts() -> dict[str, object]:
    """Return the entry of result.json; none outside of a batch."""
    word = os.environ.get(SWITCH)
    return {KEY: word} if word else {}
