"""FreeKD: the wavelets' bands, what its prompts learn from, and what rests when; ``test_golden.py`` has its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from cases import batch_of, make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import overtone
from overtone.engine.phases import resting
from overtone.errors import InputError
from overtone.frequency import haar_bands, haar_map
from overtone.losses import mask_overlap
from overtone.methods import configure, find
from overtone.methods.freekd import FreeKD
from overtone.models import build
from overtone.types import Batch, DataInfo, Output, Progress, Spec, StageSpec

ONE = {"pairs": {"stage3": "stage3"}}
LEVELS = ("p2", "p3")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=2), st.integers(1, 3))
def test_bands_keep_energy_and_give_the_map_again(size: list[int], scales: int) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64)
    coarse, details = haar_bands(x, scales)
    energy = coarse.square().sum() + sum(bands.square().sum() for bands in details)
    torch.testing.assert_close(energy, x.square().sum())
    torch.testing.assert_close(haar_map(coarse, details, size), x)


def slow_bands(row: list[float]) -> tuple[list[float], list[list[float]]]:
    """Of one channel of a signal's map."""
    details = []
    for _ in range(3):
        row = row + [0.0] * (len(row) % 2)
        pairs = list(zip(row[::2], row[1::2], strict=True))
        details.append([(a - b) / 2**0.5 for a, b in pairs])
        row = [(a + b) / 2**0.5 for a, b in pairs]
    return row, details


def test_all_terms_against_a_slow_loop() -> None:
    case, batch = make("freekd", ONE), batch_of(2)
    outputs = case.outputs(batch)
    method = case.method
    assert isinstance(method, FreeKD)
    weight = method.prompts[0].weight
    with torch.no_grad():
        weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
        step = case.distillation.eval()(batch, outputs, Progress(1, 2))
        theirs, mine = outputs["signal"].stages["stage3"], step.output.stages["stage3"]
        layer = method.adapters["signal"][0].convolution
        mine = torch.einsum("oi,bit->bot", layer.weight[:, :, 0], mine) + layer.bias[:, None]
    assert 2 * mine.shape[2] == theirs.shape[2] == 8  # so that no rebuilt map loses a position
    mine = mine.repeat_interleave(2, dim=2)
    map_ = sum((a - b) ** 2 for a, b in zip(mine.flatten().tolist(), theirs.flatten().tolist(), strict=True))
    bands, overlap, finetune = 0.0, 0.0, 0.0
    channels = theirs.shape[1]
    for b in range(2):
        split = [[slow_bands(x[b, c].tolist()) for c in range(channels)] for x in (mine, theirs)]
        squares, whole = 0.0, theirs[b].square().sum().item()
        for number in range(4):  # the coarse map and three scales
            own, other = ([one[0] if number == 0 else one[1][number - 1] for one in side] for side in split)
            length = len(own[0])
            masks = [
                [
                    1
                    / (
                        1
                        + 2.718281828459045 ** -sum(weight[number, t, c].item() * other[c][i] for c in range(channels))
                    )
                    for i in range(length)
                ]
                for t in range(6)
            ]
            pairs = [(s, t) for s in range(6) for t in range(6) if s != t]
            for s, t in pairs:
                both = sum(x * y for x, y in zip(masks[s], masks[t], strict=True))
                apart = sum(x * x for x in masks[s]) + sum(y * y for y in masks[t])
                overlap += 2 * both / apart / len(pairs) / 2
            for c in range(channels):
                for i in range(length):
                    counted = sum(mask[i] for mask in masks)
                    squares += (counted * other[c][i] - other[c][i]) ** 2  # as large in bands as in the map
                    if number:
                        bands += counted / 6 * abs(own[c][i] - other[c][i]) / (2 * channels * length)
        finetune += squares / whole / 2
    expected = {"finetune": finetune, "overlap": overlap, "bands": bands, "map": map_ / theirs.numel()}
    for term, value in expected.items():
        torch.testing.assert_close(step.terms[f"freekd.{term}"].item(), value, rtol=1e-4, atol=1e-6, msg=term)


def test_masks_that_share_no_position_do_not_overlap() -> None:
    assert float(mask_overlap(torch.eye(4)[None])) == 0
    with pytest.raises(ValueError, match=r"two masks or more are compared, \(B, T, ...\); got \(2, 1, 5\)"):
        mask_overlap(torch.ones(2, 1, 5))


# --- maps of a pyramid, whose sizes change from batch to batch


def spec(channels: int) -> Spec:
    stages = {name: StageSpec((channels, 8 // 2**n, 8 // 2**n), (4.0, 4.0)) for n, name in enumerate(LEVELS)}
    return Spec((3, 32, 32), 5, stages, order=LEVELS)


def pyramid(channels: int, size: tuple[int, int], **prediction: object) -> Output:
    maps = {name: torch.randn(2, channels, size[0] // 2**n, size[1] // 2**n) for n, name in enumerate(LEVELS)}
    return Output({"logits": torch.zeros(2, 5), **prediction}, maps)


def made() -> FreeKD:
    torch.manual_seed(0)
    method = FreeKD(configure("freekd", {}), spec(3), {"theirs": spec(4)}, DataInfo())
    assert isinstance(method, find("freekd"))
    return method


def run(method: FreeKD, student: Output, teacher: Output, counting: frozenset[str] | None = None) -> dict[str, Tensor]:
    batch = Batch({}, torch.zeros(2, dtype=torch.long), torch.arange(2))
    return method(student, {"theirs": teacher}, batch, Progress(1, 2, counting=counting))


def test_sizes_may_change_from_batch_to_batch() -> None:
    method = made()
    for size in ((8, 8), (10, 13), (3, 21)):
        terms = run(method, pyramid(3, size), pyramid(4, size))
        assert all(bool(torch.isfinite(value)) for value in terms.values())
    student, teacher = pyramid(3, (5, 7)), pyramid(4, (10, 14))
    alone = run(method, student, teacher)
    with torch.no_grad():
        shown = method.visualisations(student, {"theirs": teacher}, Batch({}, None, torch.arange(2)))
    assert shown["theirs/p2/mask, scale 1"].values.shape == (2, 5, 7)  # type: ignore[union-attr]
    assert alone.keys() == set(method.terms)


def losing(seen: list[Mapping[str, Tensor]]) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """What a detector's heads would say of maps."""

    def losses_of(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seen.append(maps)
        return {"box": maps["p2"].square().mean(), "classifier": maps["p3"].sum()}

    return losses_of


def test_prompts_are_finetuned_by_the_teachers_own_losses_where_it_can_go_on_from_its_maps() -> None:
    method, seen = made(), []
    teacher = pyramid(4, (8, 12), losses_of=losing(seen))
    terms = run(method, pyramid(3, (8, 12)), teacher)
    (maps,) = seen
    torch.testing.assert_close(terms["finetune"], maps["p2"].square().mean() + maps["p3"].sum())
    for name in LEVELS:  # by six masks of a half each, at first
        torch.testing.assert_close(maps[name], 3 * teacher.stages[name], rtol=0.5, atol=0.5)
    terms["finetune"].backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in method.prompts.parameters())
    assert all(p.grad is None for p in method.adapters.parameters())


def test_the_teachers_heads_are_asked_only_while_that_counts() -> None:
    method, seen = made(), []
    teacher = pyramid(4, (8, 12), losses_of=losing(seen))
    counting = frozenset({"bands", "map"})
    assert set(run(method, pyramid(3, (8, 12)), teacher, counting)) == {"overlap", "bands", "map"}
    assert not seen


def test_masks_are_no_target_that_learns() -> None:
    method = made()
    terms = run(method, pyramid(3, (8, 8)), pyramid(4, (8, 8)))
    (terms["bands"] + terms["map"]).backward()
    assert all(p.grad is None for p in method.prompts.parameters())
    assert all(p.grad is not None for p in method.adapters.parameters())


def test_prompts_learn_and_the_rest_rests_then_the_other_way_round() -> None:
    x = torch.randn(8, 3, 32)
    models = build("dscnn-4", (3, 32), 5), build("wrn10-0.25", (3, 32), 5)
    loop = overtone.Distillation.between(*models, "freekd", example=x)
    distillation = loop.distillation
    method = distillation.methods["freekd"]
    assert isinstance(method, FreeKD)
    still = {epoch: {id(p) for p in resting(distillation, Progress(epoch, 20))} for epoch in (1, 2, 3, 20)}
    prompts, adapters = ({id(p) for p in part.parameters()} for part in (method.prompts, method.adapters))
    assert still[1] == still[2] == adapters
    assert still[3] == still[20] == prompts
    optimizer = torch.optim.SGD(method.prompts.parameters(), 0.5)
    worth = []
    for _ in range(6):
        step = loop(x, torch.zeros(8, dtype=torch.long), progress=Progress(1, 20))
        worth.append(float((step.terms["freekd.finetune"] + step.terms["freekd.overlap"]).detach()))
        optimizer.zero_grad()
        step.total.backward()
        optimizer.step()
    assert worth[-1] < worth[0]
    assert "freekd.finetune" not in loop(x, torch.zeros(8, dtype=torch.long), progress=Progress(3, 20)).terms


def test_one_prompt_alone_cannot_be_told_apart() -> None:
    with pytest.raises(InputError, match="prompts"):
        configure("freekd", {"prompts": 1})
