"""Views of a window: batched torch functions on any device, and the small objects that a recipe names.

Leaves of the house: they import torch and nothing else of Overtone.
"""

from overtone.views.base import Codec, Shown, State, View
from overtone.views.custom import CustomView
from overtone.views.gaf import GAF, gramian_angular_field, paa
from overtone.views.image import Image
from overtone.views.mtf import MTF, markov_transition_field
from overtone.views.persistence import DiagramCodec, PersistenceImage, persistence_image, sublevel_diagram
from overtone.views.recurrence import Recurrence, recurrence_plot
from overtone.views.signal import Signal
from overtone.views.spectrogram import Spectrogram, spectrogram

VIEWS: dict[str, type[View]] = {
    "signal": Signal,
    "gaf": GAF,
    "pi": PersistenceImage,
    "mtf": MTF,
    "recurrence": Recurrence,
    "spectrogram": Spectrogram,
    "image": Image,
}

__all__ = [
    "GAF",
    "MTF",
    "VIEWS",
    "Codec",
    "CustomView",
    "DiagramCodec",
    "Image",
    "PersistenceImage",
    "Recurrence",
    "Shown",
    "Signal",
    "Spectrogram",
    "State",
    "View",
    "gramian_angular_field",
    "markov_transition_field",
    "paa",
    "persistence_image",
    "recurrence_plot",
    "spectrogram",
    "sublevel_diagram",
]
