from typing import ClassVar

import torch
from pydantic import Field

from overtone.methods import Method, MethodConfig


class Settings(MethodConfig):
    power: float = Field(default=2.0, gt=0)


class Mine(Method):
    NAME = "mine"
    WEIGHTS: ClassVar = {"ce": 1.0, "gap": 0.5}
    Config = Settings
    terms = ("gap",)

    def __init__(self, config, student, teachers, data):
        super().__init__(config, student, teachers, data)
        self.power = config.power

    def forward(self, student, teachers, batch, progress):
        gaps = [(student.logits - t.logits).abs() ** self.power for t in teachers.values()]
        return {"gap": torch.stack(gaps).mean()}
