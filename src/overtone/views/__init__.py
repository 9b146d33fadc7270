"""Views of a window: batched torch functions on any device, and the small objects that a recipe names.

Leaves of the house: they import torch and nothing else of Overtone.
"""

from overtone.views.base import State, View
from overtone.views.gaf import GAF, gramian_angular_field, paa
from overtone.views.persistence import PersistenceImage, persistence_image, sublevel_diagram
from overtone.views.signal import Signal

VIEWS: dict[str, type[View]] = {"signal": Signal, "gaf": GAF, "pi": PersistenceImage}

__all__ = [
    "GAF",
    "VIEWS",
    "PersistenceImage",
    "Signal",
    "State",
    "View",
    "gramian_angular_field",
    "paa",
    "persistence_image",
    "sublevel_diagram",
]
