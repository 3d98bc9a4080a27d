"""The hub: the live page on which learning can be seen, poked, rewound and forked.

`fathom hub` serves it. Without a page, `Lab` does all that the page does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fathom.hub.lab import Lab
    from fathom.hub.recipe import Recipe

_HOMES = {"Lab": "fathom.hub.lab", "Recipe": "fathom.hub.recipe"}

__all__ = ["Lab", "Recipe"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fathom.hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
