"""Distillation losses as pure functions of tensors, one file per family.

Every function returns an unweighted scalar that already contains its T² where one belongs. They import torch and
nothing else of Overtone, so they can be used alone: ``from overtone.losses import kd``. Examples need that line and
``import torch``.
"""

from overtone.losses.activation import class_map_distance, evidence, evidence_distance, joint_evidence, to_grid
from overtone.losses.bands import band_distance, mask_overlap
from overtone.losses.contrast import noise_contrast
from overtone.losses.logits import (
    decoupled_kd,
    dist,
    kd,
    kd_per_sample,
    kd_to_probabilities,
    standardised_kd,
    unit_deviation,
)
from overtone.losses.maps import attention_transfer, hierarchical_context, spectrum_distance
from overtone.losses.relations import (
    gram,
    relational_angle,
    relational_distance,
    similarity_preserving,
    similarity_preserving_merged,
)

__all__ = [
    "attention_transfer",
    "band_distance",
    "class_map_distance",
    "decoupled_kd",
    "dist",
    "evidence",
    "evidence_distance",
    "gram",
    "hierarchical_context",
    "joint_evidence",
    "kd",
    "kd_per_sample",
    "kd_to_probabilities",
    "mask_overlap",
    "noise_contrast",
    "relational_angle",
    "relational_distance",
    "similarity_preserving",
    "similarity_preserving_merged",
    "spectrum_distance",
    "standardised_kd",
    "to_grid",
    "unit_deviation",
]
