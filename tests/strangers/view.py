from typing import ClassVar

from pydantic import Field

from overtone.views import Shown, View


class Steps(View):
    """Differences of neighbours, over their training deviation."""

    AXES = ("time",)
    STATE: ClassVar = {"scale": 1}
    SHOWN = Shown(caption="differences of neighbours", unit="steps")

    size: int = Field(default=8, ge=2)

    def fit(self, stored):
        return {"scale": max(float(stored.diff(dim=2).std()), 1e-3)}

    def render(self, stored, state):
        return stored.diff(dim=2)[:, :, : self.size] / state["scale"]
