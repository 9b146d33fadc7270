"""What every part of a recipe is: keys of its own and no others, and no switch where a number is wanted."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from overtone.recipe.messages import allows_switch

NOT_ALLOWED = "not_allowed"
"""A problem that is told by what its place allows."""


class Section(BaseModel):
    """A part of a recipe with keys of its own and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``yes`` and ``on`` as true, which would silently count as 1."""
        field = info.field_name
        if isinstance(value, bool) and field and not allows_switch(cls.model_fields[field].annotation):
            raise PydanticCustomError(NOT_ALLOWED, "yes and no are not allowed here")
        return value
