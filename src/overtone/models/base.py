"""The contract of built-in models: they declare their stages, so nobody types a shape and no hook is needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from overtone.types import Output


class AttentionPool(nn.Module):
    """A weighted average over the positions of a map, the weights a softmax of learned scores.

    ``a = softmax_p(w . tanh(V f_p))``, ``pooled = sum_p a_p f_p`` (Ilse et al. 2018, equations 7 and 8).

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, max(4, channels // 4))
        self.score = nn.Linear(self.hidden.out_features, 1, bias=False)

    def weights(self, final: Tensor) -> Tensor:
        """Where it looks: (B, c, ...) -> (B, positions), values above 0 that sum to 1."""
        positions = final.flatten(2).transpose(1, 2)  # (B, P, c)
        return self.score(self.hidden(positions).tanh()).squeeze(2).softmax(1)  # (B, P)

    def forward(self, final: Tensor) -> Tensor:
        """(B, c, ...) -> (B, c)."""
        return (final.flatten(2) * self.weights(final).unsqueeze(1)).sum(2)


def through(stages: Iterable[Iterable[nn.Module]], stem: Tensor) -> dict[str, Tensor]:
    """Stages of blocks that end in front of their ReLU: ``stem``, ``stageK.pre``, ``stageK`` and ``final``, in order.

    Args:
        stages: each a row of blocks.
        stem: what enters the first, (B, c, ...).
    """
    maps = {"stem": stem}
    x = stem
    for number, blocks in enumerate(stages, start=1):
        for block in blocks:
            before = block(x)
            x = before.relu()
        maps[f"stage{number}.pre"], maps[f"stage{number}"] = before, x
    maps["final"] = x
    return maps


class Tapped(nn.Module, ABC):
    """A model that gives its own :class:`~overtone.types.Output`.

    Attributes:
        BRANCHES: names of its branches, which are models of their own.
        VARIES: whether its maps' height and width change from batch to batch, as those of images of any size do.
        BODY: path of the part that weights of a classifier fit, such as a detector's backbone; empty without one.
    """

    BRANCHES: tuple[str, ...] = ()
    VARIES: ClassVar[bool] = False
    BODY: ClassVar[str] = ""

    @abstractmethod
    def output(self, x: Any) -> Output:
        """Logits and everything that methods may read."""

    def counted(self, x: Any) -> Any:
        """The pass whose multiplications are what the model costs: all that it does in evaluation."""
        return self(x)


class Staged(Tapped):
    """A classifier that names its depths.

    Stages, in the order of the forward pass: ``stem``, ``stage1`` .. ``stageN`` (after the last activation),
    ``stageK.pre`` (before it), ``stageK.raw`` (the sum that its last block gives, where that is yet another map, as in
    networks that normalise and activate in front of convolutions), ``final`` (the map that is pooled) and ``embedding``
    (the pooled vector, (B, D)).

    Attributes:
        STRIDES: by what each of stage1 .. stageN divides the size of the stage before it; their number is N.
        STEM: whether there is a stem.
        POINTS: what else there is of every stage, ``pre`` and ``raw``.
        FIRST: number of the first stage that published code compares: 2 where the first one stands for the stem.
        attend: in place of the average, if it is set; its weights are the model's ``attention``.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 2, 2)
    STEM: ClassVar[bool] = True
    POINTS: ClassVar[tuple[str, ...]] = ("pre",)
    FIRST: ClassVar[int] = 1
    attend: AttentionPool | None

    def __init__(self) -> None:
        super().__init__()
        self.register_module("attend", None)

    @abstractmethod
    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage by name."""

    def pool(self, final: Tensor) -> Tensor:
        """The ``final`` map to the ``embedding``, by default the average over the map: (B, c, ...) -> (B, D)."""
        return final.flatten(2).mean(2) if self.attend is None else self.attend(final)

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """The embedding to logits: (B, D) -> (B, C)."""

    def head(self, final: Tensor) -> Tensor:
        """Pool and classifier: the ``final`` map to logits."""
        return self.classify(self.pool(final))

    def output(self, x: Tensor) -> Output:
        """Logits, stages, embedding, head, and attention where the map is pooled by it."""
        maps = self.features(x)
        embedding = maps.pop("embedding")
        attention = None if self.attend is None else self.attend.weights(maps["final"])
        return Output.of(self.classify(embedding), maps, embedding, self.head, attention)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.classify(self.features(x)["embedding"])
