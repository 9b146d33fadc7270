"""Where trained models look, and which teacher knows what others do not."""

from overtone.explain.agreement import Agreement, agreement
from overtone.explain.collect import FILE, Explained, collect_explained, collect_study, read, refresh
from overtone.explain.saliency import Saliency, saliency

__all__ = [
    "FILE",
    "Agreement",
    "Explained",
    "Saliency",
    "agreement",
    "collect_explained",
    "collect_study",
    "read",
    "refresh",
    "saliency",
]
