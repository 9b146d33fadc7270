"""Teachers, frozen, and the memory of what they said about each training sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overtone.disk import reserve
from overtone.errors import OvertoneError
from overtone.tap import Tap
from overtone.types import Batch, Output, Seen, select


class Teacher:
    """A frozen model and the view it sees. Deliberately no ``nn.Module``: it must not appear in anyone's state.

    Args:
        name: the teacher's name, part of its terms' names.
        tap: its model; in evaluation mode and frozen from here on, see :meth:`rest`.
        view: the key of its input in ``Batch.views``, or the keys of its inputs.
    """

    def __init__(self, name: str, tap: Tap, view: Seen) -> None:
        self.name, self.tap, self.view = name, tap, view
        self.rest()

    def rest(self) -> None:
        """Evaluation mode and no gradient for a parameter, whatever its owner has done meanwhile.

        Asked for at each call: a module that holds the model too wakes it up with ``train()`` or ``requires_grad_()``.
        Through ``eval`` of the model itself, so that one that keeps a part awake on purpose may do so.
        """
        if any(module.training for module in self.tap.modules()):
            self.tap.eval()
        if any(parameter.requires_grad for parameter in self.tap.parameters()):
            self.tap.requires_grad_(False)

    def follow(self, device: torch.device) -> None:
        """Move to where the inputs are."""
        first = next(self.tap.parameters(), None)
        if first is not None and first.device != device:
            self.tap.to(device)

    def __call__(self, batch: Batch) -> Output:
        """The teacher's output for a batch, without gradient; the teacher follows the input's device.

        ``no_grad``, not ``inference_mode``: adapters may train on these tensors. ``head`` stays differentiable in its
        input.
        """
        self.rest()
        self.follow(batch.index.device)
        with torch.no_grad():
            return self.tap(batch.input(self.view))


class TeacherMemory:
    """A teacher's outputs, computed once per training sample and looked up afterwards.

    Sound only where the teacher's input has no random augmentation. Samples are computed in index order in batches of
    fixed size, so that the numbers do not depend on who asks first.

    Args:
        teacher: whose outputs are kept.
        index: the samples' numbers in the data set, (N,).
        fetch: gives the batch of some indices, with the teacher's view in it.
        needs: which parts of the output are kept besides its predictions.
        batch: samples computed at a time.
        spill: a folder for memory-mapped files instead of memory.

    Raises:
        InputError: if the disk has not the space for them.
    """

    def __init__(
        self,
        teacher: Teacher,
        index: Tensor,
        fetch: Callable[[Tensor], Batch],
        needs: frozenset[str] = frozenset({"logits"}),
        batch: int = 256,
        spill: Path | None = None,
    ) -> None:
        self.head = teacher.tap.head
        ordered = index.sort().values
        self.position = torch.full((int(ordered[-1]) + 1,), -1, dtype=torch.long, device=index.device)
        self.position[ordered] = torch.arange(len(ordered), device=index.device)
        self.held: dict[str, Tensor] = {}
        first = 0
        for part in ordered.split(batch):
            for name, x in _tensors(select(teacher(fetch(part)), needs)):
                if name not in self.held:
                    self.held[name] = _room(len(ordered), x, name, spill, teacher.name)
                self.held[name][first : first + len(part)] = x.to(self.held[name].device)
            first += len(part)

    @property
    def bytes(self) -> int:
        """Memory, or disk, in use."""
        return sum(x.numel() * x.element_size() for x in self.held.values())

    def __call__(self, batch: Batch) -> Output:
        """The kept output of a batch's samples, in the batch's order.

        Raises:
            OvertoneError: for a sample whose output was never computed.
        """
        rows = self.position[batch.index]
        if rows.min() < 0:
            unknown = batch.index[rows < 0][:5].tolist()
            raise OvertoneError(f"teacher memory holds no output of samples {unknown}; it was made for other samples")
        tensors = {name: x[rows.to(x.device)].to(rows.device) for name, x in self.held.items()}
        stages = {name[7:]: x for name, x in tensors.items() if name.startswith("stages/")}
        prediction = {name[11:]: x for name, x in tensors.items() if name.startswith("prediction/")}
        plain: dict[str, Any] = {name: x for name, x in tensors.items() if "/" not in name}
        return Output(prediction, stages, head=self.head, **plain)


def _room(samples: int, like: Tensor, name: str, spill: Path | None, teacher: str) -> Tensor:
    """An empty tensor for all samples' part of an output: on the device, or backed by a file whose space is there."""
    shape = (samples, *like.shape[1:])
    if spill is None:
        return like.new_empty(shape)
    spill.mkdir(parents=True, exist_ok=True)
    count = int(torch.Size(shape).numel())
    path = spill / name.replace("/", "-")
    reserve(path, count * like.element_size(), f"outputs of teacher {teacher!r}")
    return torch.from_file(str(path), shared=True, size=count, dtype=like.dtype).view(shape)


def _tensors(output: Output) -> Iterator[tuple[str, Tensor]]:
    for name, x in output.prediction.items():
        if isinstance(x, Tensor):  # what else there is answers to the student
            yield f"prediction/{name}", x
    if output.embedding is not None:
        yield "embedding", output.embedding
    if output.attention is not None:
        yield "attention", output.attention
    for name, x in output.stages.items():
        yield f"stages/{name}", x


def memory_bytes(output: Output, needs: frozenset[str], samples: int) -> int:
    """What remembering ``needs`` for so many samples would take, judged by one batch's output."""
    kept = select(output, needs)
    per_sample = sum(x[0].numel() * x.element_size() for _, x in _tensors(kept))
    return per_sample * samples
