"""The contract of built-in models: they declare their stages, so nobody types a shape and no hook is needed."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Staged(nn.Module, ABC):
    """A classifier that names its depths.

    Stages, in the order of the forward pass: ``stem``, ``stage1`` .. ``stageN`` (after the last activation),
    ``stageK.pre`` (before it), ``final`` (the map that is pooled) and ``embedding`` (the pooled vector, (B, D)).
    """

    @abstractmethod
    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage by name."""

    def pool(self, final: Tensor) -> Tensor:
        """The ``final`` map to the ``embedding``, by default the average over the map: (B, c, ...) -> (B, D)."""
        return final.flatten(2).mean(2)

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """The embedding to logits: (B, D) -> (B, C)."""

    def head(self, final: Tensor) -> Tensor:
        """Pool and classifier: the ``final`` map to logits."""
        return self.classify(self.pool(final))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.classify(self.features(x)["embedding"])
