"""Vesica: how much do lists overlap, with differential privacy, and nobody shows a list.

``vesica.Room`` is what a party uses from Python; ``vesica --help`` is the same from a shell.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesica.client import Room
    from vesica.errors import VesicaError
    from vesica.journal import Journal, Keeping

    __version__: str

__all__ = ["Journal", "Keeping", "Room", "VesicaError", "__version__"]

_HOMES = {
    "Journal": "vesica.journal",
    "Keeping": "vesica.journal",
    "Room": "vesica.client",
    "VesicaError": "vesica.errors",
}


def __getattr__(name: str) -> object:
    # Imported when first used (PEP 562): an HTTP client costs 100 ms, which `vesica --help` need not pay.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'vesica' has no attribute {name!r}")


def _version() -> str:
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("vesica"))
    except metadata.PackageNotFoundError:  # run from a checkout that nobody installed
        return "0+unknown"
