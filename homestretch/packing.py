"""The numbers and strings of a state as one text.

torch's distributed checkpoints fill a state that the receiver already holds, entry by entry, and leave out what that lacks:
half of a dictionary that has grown since would be loaded. A text comes whole.
"""

from __future__ import annotations

import json
from typing import Any


def pack(content: dict[str, Any]) -> str | dict[str, Any]:
    """``content`` as JSON, or as it is where that would change it: tensors, tuples, keys that are numbers."""
    try:
        text = json.dumps(content)
    except TypeError:
        return content
    return text if repr(json.loads(text)) == repr(content) else content


def unpack(packed: str | dict[str, Any]) -> dict[str, Any]:
    """What was given to :func:`pack`; states of earlier versions hold the dictionary itself."""
    return json.loads(packed) if isinstance(packed, str) else packed
