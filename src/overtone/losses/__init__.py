"""Distillation losses as pure functions of tensors, one file a family.

Every function returns an unweighted scalar that already contains its T² where one belongs. They import torch and
nothing else of Overtone, so they can be used alone: ``from overtone.losses import kd``.
"""

from overtone.losses.logits import kd, kd_per_sample, kd_to_probabilities
from overtone.losses.maps import hierarchical_context, spectrum_distance
from overtone.losses.relations import gram, similarity_preserving, similarity_preserving_merged

__all__ = [
    "gram",
    "hierarchical_context",
    "kd",
    "kd_per_sample",
    "kd_to_probabilities",
    "similarity_preserving",
    "similarity_preserving_merged",
    "spectrum_distance",
]
