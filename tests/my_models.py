"""What a user might bring: a network and a view of their own, found as ``my_models:Name``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from overtone.models.base import Staged


class Plain(nn.Module):
    """A 1-D network that knows nothing of Overtone."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(in_channels, 8, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool1d(2))
        self.second = nn.Sequential(nn.Conv1d(8, 16, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool1d(2))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x)).mean(2))


class Wrong(nn.Module):
    """Returns maps instead of logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, classes, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Structured(nn.Module):
    """A 2-D network that returns its logits beside other things, as many of the hub do."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 8, 3, stride=2), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor | None]:
        maps = self.conv(x).relu()
        return {"loss": None, "logits": self.fc(maps.mean((2, 3))), "hidden": maps}


class Probable(Structured):
    """Ends in a softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)["logits"].softmax(1)


class Skips(Plain):
    """Runs its second part in training only, so that a capture stays empty in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return self.fc(self.second(first).mean(2) if not self.training else torch.cat([first, first], 1).mean(2))


class Small(Staged):
    """Names its stages, so that it may be a branch."""

    STRIDES: ClassVar[tuple[int, ...]] = (1,)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, width: int = 4) -> None:
        super().__init__()
        self.one, self.classifier = nn.Conv1d(channels, width, 5, padding=2), nn.Linear(width, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.one(x).relu()
        return {"stem": maps, "stage1": maps, "final": maps, "embedding": self.pool(maps)}

    def classify(self, embedding: Tensor) -> Tensor:
        return self.classifier(embedding)


def squares(windows: Tensor, power: float = 2.0) -> Tensor:
    """Each channel's outer product with itself, (B, C, T) -> (B, C, 8, 8)."""
    short = windows[..., :8]
    return (short.unsqueeze(-1) * short.unsqueeze(-2)).abs() ** (power / 2)


def wrong_view(windows: Tensor) -> Tensor:
    """Loses the batch."""
    return windows.mean(0)
