"""Where trained models look, and which teacher knows what others do not."""

from overtone.explain.agreement import Agreement, agreement
from overtone.explain.gather import FILE, Explained, explain, gather, read, refresh
from overtone.explain.look import Look, look

__all__ = ["FILE", "Agreement", "Explained", "Look", "agreement", "explain", "gather", "look", "read", "refresh"]
