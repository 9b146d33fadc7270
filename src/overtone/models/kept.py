"""Models that keep parts of the method that trained them, and what a student file says of these parts."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.losses import to_grid
from overtone.models.base import AttentionPool, Staged
from overtone.models.layers import CONV, NORM
from overtone.types import Shape

Count = Annotated[int, Field(ge=1, le=2**20)]


class KeptParts(BaseModel):
    """What a student file says of parts that a method left in its model: which, and their settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    settings: dict[str, Any]


class Keeping(Staged):
    """A model around another one, with the parts that stay.

    Attributes:
        TYPE: its name in a student file; it stands in :data:`KEEPING`.
        Settings: what decides these parts' shapes.
    """

    TYPE: ClassVar[str]
    Settings: ClassVar[type[BaseModel]]
    settings: BaseModel

    @abstractmethod
    def __init__(self, model: nn.Module, classes: int, settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @property
    def kept(self) -> KeptParts:
        """What makes these parts again, without their weights."""
        return KeptParts(type=self.TYPE, settings=self.settings.model_dump(mode="json"))


class ReheadedSettings(BaseModel):
    """Shapes of a :class:`Reheaded`.

    Attributes:
        channels: of the map in front of the other model's head.
        middle: of the projector's own maps.
        size: of the map in front of that head; a larger one is averaged to it.
        pool: how that head pools.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: Count
    middle: Count
    size: Annotated[tuple[Count, ...], Field(min_length=1, max_length=2)]
    pool: Literal["average", "attention"] = "average"


class Reheaded(Keeping):
    """A built-in model whose last map goes through a projector into another model's pool and classifier.

    Projector: convolutions 1, 3 and 1 wide, each with batch normalisation and ReLU. The head is frozen. ``final`` and
    ``embedding`` are those in front of it, all other stages the model's own. The model that is given stays as it is:
    its parts are held here too, but for its own head.

    Args:
        model: a built-in one.
        classes: number of classes.
        settings: shapes.

    Raises:
        InputError: for a model whose head is not a pool and one linear layer.
    """

    TYPE: ClassVar[str] = "reheaded"
    Settings: ClassVar[type[BaseModel]] = ReheadedSettings
    settings: ReheadedSettings

    def __init__(self, model: nn.Module, classes: int, settings: ReheadedSettings) -> None:
        super().__init__(model, classes, settings)
        name, classifier = linear_of(model)
        inner = cast(Staged, copy.copy(model))
        inner._modules = {**model._modules, name: nn.Identity(), "attend": None}
        self.model, self.FIRST = inner, inner.FIRST  # type: ignore[misc]
        conv, norm = CONV[len(settings.size)], NORM[len(settings.size)]
        inputs, middle, outputs = classifier.in_features, settings.middle, settings.channels
        self.projector = nn.Sequential(
            *(conv(inputs, middle, 1, bias=False), norm(middle), nn.ReLU()),
            *(conv(middle, middle, 3, padding=1, bias=False), norm(middle), nn.ReLU()),
            *(conv(middle, outputs, 1, bias=False), norm(outputs), nn.ReLU()),
        )
        self.classifier = nn.Linear(outputs, classes).requires_grad_(False)
        if settings.pool == "attention":
            self.attend = AttentionPool(outputs).requires_grad_(False)

    def take_head(self, model: Staged) -> Reheaded:
        """Take the weights of another model's pool and classifier."""
        self.classifier.load_state_dict(linear_of(model)[1].state_dict())
        if self.attend is not None and model.attend is not None:
            self.attend.load_state_dict(model.attend.state_dict())
        return self

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage of the model, and its last map as the other head sees it."""
        maps = self.model.features(x)
        final = maps.pop("final")
        fewer = [min(have, want) for have, want in zip(final.shape[2:], self.settings.size, strict=True)]
        maps["final"] = self.projector(to_grid(final, fewer))
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def linear_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and layer of a built-in model's classifier.

    Raises:
        InputError: for a model whose head is not a pool and one linear layer.
    """
    linears = [(name, layer) for name, layer in model.named_children() if isinstance(layer, nn.Linear)]
    if not isinstance(model, Staged) or type(model).pool is not Staged.pool or len(linears) != 1:
        raise InputError("its head is not an average or attention over its last map and one linear layer")
    return linears[0]


KEEPING: dict[str, type[Keeping]] = {Reheaded.TYPE: Reheaded}


def around(model: nn.Module, kept: KeptParts | None, input_shape: Shape, classes: int) -> nn.Module:
    """The model with the parts that a student file says it keeps; itself where there are none.

    Raises:
        InputError: for parts that are not known, or do not fit the model.
    """
    if kept is None:
        return model
    if kept.type not in KEEPING:
        raise InputError(f"it keeps parts {kept.type[:60]!r}, which this version of Overtone does not know")
    kind = KEEPING[kept.type]
    try:
        settings = kind.Settings.model_validate(kept.settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"the parts that it keeps: {'.'.join(map(str, first['loc']))[:60]}: {first['msg']}") from error
    if len(getattr(settings, "size", input_shape[1:])) != len(input_shape) - 1:
        raise InputError(f"the parts that it keeps are not for an input of {input_shape}")
    return kind(model, classes, settings)
