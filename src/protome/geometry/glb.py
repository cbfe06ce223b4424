"""The description in a binary glTF file, checked before anything is allocated by it.

Source: glTF 2.0 specification, section 4.4: a header of twelve bytes, then the length and kind of a chunk of JSON.
"""

from __future__ import annotations

import json
import struct
from typing import Any


def glb_tree(content: bytes) -> dict[str, Any]:
    """Return the description in a binary glTF file.

    Raises:
        ValueError: the file is no complete one of version 2; or it claims more elements than it has bytes, which no
            array can have, because one without values of its own belongs to others that have some.
    """
    try:
        magic, version, length, size, kind = struct.unpack_from("<4sIII4s", content)
        tree = json.loads(content[20 : 20 + size])
    except (struct.error, RecursionError) as error:
        raise ValueError("its beginning is damaged") from error
    if (magic, version, kind) != (b"glTF", 2, b"JSON") or length > len(content) or not isinstance(tree, dict):
        raise ValueError("it is no complete binary glTF 2.0 file")
    for accessor in tree.get("accessors", ()):
        for holder in (accessor, accessor.get("sparse", {"count": 0})):
            if not 0 <= int(holder["count"]) <= len(content):
                raise ValueError(f"it claims to hold {holder['count']} values")
    return tree
