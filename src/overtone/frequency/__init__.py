"""Frequency attention: transforms, high-pass masks, the spectral filter, local attention, lifts of signals to maps, and
Haar wavelets.

These modules import torch and nothing else of Overtone, so they can be used alone.
"""

from overtone.frequency.attention import FrequencyAttention
from overtone.frequency.filter import SpectralFilter, resize
from overtone.frequency.lift import lift
from overtone.frequency.local import LocalAttention
from overtone.frequency.masks import dense_mask, high_pass, published_mask
from overtone.frequency.radial import radial_spectrum
from overtone.frequency.settings import parameter_count
from overtone.frequency.transforms import Fourier, Orthogonal, Transform, make_transform
from overtone.frequency.wavelet import haar_bands, haar_map

__all__ = [
    "Fourier",
    "FrequencyAttention",
    "LocalAttention",
    "Orthogonal",
    "SpectralFilter",
    "Transform",
    "dense_mask",
    "haar_bands",
    "haar_map",
    "high_pass",
    "lift",
    "make_transform",
    "parameter_count",
    "published_mask",
    "radial_spectrum",
    "resize",
]
