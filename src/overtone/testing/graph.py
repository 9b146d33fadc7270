"""The autograd graph of a loss, walked."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def leaves(value: Tensor) -> list[Tensor]:
    """Every tensor that would get a gradient by ``value.backward()``, each once."""
    by_id: dict[int, Tensor] = {}
    seen, todo = set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # of the node that adds to a leaf's gradient
        if leaf is not None:
            by_id[id(leaf)] = leaf
        todo += [before for before, _ in node.next_functions]
    return list(by_id.values())


def unseen(values: Iterable[Tensor], module: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of what the values would give a gradient to, but is no parameter of the module, so that no optimiser,
    state or device move reaches it.
    """
    known = {id(parameter) for parameter in module.parameters()}
    return sorted({tuple(leaf.shape) for value in values for leaf in leaves(value) if id(leaf) not in known})
