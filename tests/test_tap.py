"""Taps, the shape probe, teachers and their memory."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from functools import partial

import pytest
import torch
from torch import nn

import overtone
from overtone.errors import InputError, OvertoneError
from overtone.models import build
from overtone.tap import Tap, probe
from overtone.teachers import Teacher, TeacherMemory, memory_bytes
from overtone.types import Batch


def test_a_model_of_vectors_has_no_stages() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    spec = probe(Tap(model), torch.zeros(4, 6))
    assert (spec.stages, spec.embedding) == ({}, 8)
    kd = overtone.Distillation.between(model, copy.deepcopy(model), method="kd", example=torch.zeros(4, 6))
    assert kd(torch.randn(4, 6), torch.arange(4)).terms["kd.kl"] == 0


def test_a_model_that_gives_no_numbers_can_be_probed() -> None:
    """A few steps of training may leave one, which is looked into on the page all the same."""
    model = build("wrn10-0.5", (3, 32), 4)
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    assert not probe(Tap(model), torch.zeros(2, 3, 32)).has_cam


def foreign(dims=1, inplace=True):
    """A plain network of nobody's: maps of three sizes, dropout, batch statistics."""
    torch.manual_seed(0)
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    pool = nn.AdaptiveAvgPool1d if dims == 1 else nn.AdaptiveAvgPool2d
    return nn.Sequential(
        nn.Sequential(conv(2, 4, 3, padding=1), norm(4), nn.ReLU(inplace)),
        nn.Sequential(conv(4, 6, 3, stride=2, padding=1), norm(6), nn.ReLU(inplace), nn.Dropout(0.5)),
        conv(6, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace),
        pool(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def example(dims=1, count=4, seed=1):
    return torch.randn(count, 2, *[16] * dims, generator=torch.Generator().manual_seed(seed))


# --- finding and tapping stages


@pytest.mark.parametrize("dims", [1, 2])
def test_a_foreign_model_gets_its_stages_from_the_probe(dims):
    tap = Tap(foreign(dims))
    spec = probe(tap, example(dims))
    assert tap.at == {"stage1": "0", "stage2": "1", "stage3": "3"}
    assert {stage: s.shape for stage, s in spec.stages.items()} == {
        f"stage{n}{point}": (c, *[size] * dims)
        for n, (c, size) in enumerate(((4, 16), (6, 8), (8, 4)), start=1)
        for point in ("", ".pre")
    }
    assert spec.stages["stage2"].stride == (2.0,) * dims
    assert (spec.input, spec.classes, spec.embedding) == ((2, *[16] * dims), 5, 8)
    assert not spec.has_head


def test_a_tapped_model_gives_what_the_bare_one_gives():
    x, model = example(), foreign(inplace=True).eval()
    expected, first = model(x), model[0](x)
    tap = Tap(model)
    probe(tap, x)
    output = tap.eval()(x)
    assert torch.equal(output.logits, expected)
    assert torch.equal(output.stages["stage1"], first)  # not rewritten by a ReLU that works in place
    assert torch.equal(model[6](output.embedding), expected)


def test_an_activation_in_place_no_longer_rewrites_what_is_tapped():
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(56, 5)).eval()
    output = Tap(model, {"before": "0"})(example())
    assert (output.stages["before"] < 0).any()


def test_at_overrides_what_would_be_found():
    tap = Tap(foreign(), {"early": "0.0", "late": "2"}).eval()
    spec = probe(tap, example())
    assert set(spec.stages) == {"early", "late"}
    assert torch.equal(tap(example()).stages["early"], tap.model[0][0](example()))
    built_in = Tap(build("dscnn-4", (2, 16), 5), {"here": "stages.0.pointwise"})
    assert set(probe(built_in, example()).stages) == {"here"}


@pytest.mark.parametrize(
    ("path", "message"),
    [("0.9", "no module '0.9' for 's'; did you mean '0"), ("layer", "known: .*0.0"), ("0.0.", "0.0")],
)
def test_an_unknown_module_path_names_the_nearest(path, message):
    tap = Tap(foreign())
    with pytest.raises(InputError, match=message):
        tap.attach({"ok": "0", "s": path})
    assert Tap.forward(tap.eval(), example()).stages == {}  # nothing is left half attached


def test_gradients_flow_through_a_tapped_stage():
    tap = Tap(foreign(), {"s": "1"})
    tap(example()).stages["s"].sum().backward()
    assert tap.model[0][0].weight.grad.abs().sum() > 0
    assert tap.model[6].weight.grad is None


class Moody(nn.Module):
    """Runs its middle module only when it likes to."""

    def __init__(self):
        super().__init__()
        self.middle, self.last, self.skip = nn.Linear(4, 4), nn.Linear(4, 3), False

    def forward(self, x):
        return self.last(x if self.skip else self.middle(x))


def test_a_stale_capture_is_an_error():
    tap = Tap(Moody(), {"mid": "middle"})
    assert tap(torch.randn(2, 4)).stages["mid"].shape == (2, 4)
    tap.model.skip = True
    with pytest.raises(OvertoneError, match=r"mid \(middle\) stayed empty in this step"):
        tap(torch.randn(2, 4))


def test_a_module_that_gives_no_tensor_is_an_error():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0]

    with pytest.raises(OvertoneError, match=r"pair.*returned no tensor"):
        Tap(Model(), {"s": "pair"})(torch.randn(2, 3))


def test_released_hooks_are_gone():
    tap = Tap(foreign(), {"s": "1"}).eval()
    tap.release()
    assert tap(example()).stages == {}
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in tap.modules())


# --- copies


def by_torch_save(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x)), "torch.save": by_torch_save}


def zeroed(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_tap_catches_for_itself(way):
    tap, x = Tap(foreign()).eval(), example()
    probe(tap, x)
    tap(x).logits.sum().backward()  # a tap in use
    twin = COPIES[way](tap)
    before = tap(x)
    zeroed(twin)
    output = twin(x)
    assert set(output.stages) == set(before.stages) == {f"stage{n}{point}" for n in (1, 2, 3) for point in ("", ".pre")}
    assert not output.stages["stage1"].any()
    assert not output.embedding.any()
    again = tap(x)
    assert all(torch.equal(again.stages[name], stage) for name, stage in before.stages.items())
    assert torch.equal(again.embedding, before.embedding)
    twin.release()  # its own hooks, not the original's
    assert twin(x).stages == {}
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in twin.modules())
    assert set(tap(x).stages) == set(before.stages)


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_model_is_free_of_its_tap(way):
    model, x = foreign(), example()
    tap = Tap(model).eval()
    probe(tap, x)
    twin = COPIES[way](model)
    zeroed(twin)
    expected = tap(x)
    twin(x)
    assert torch.equal(tap(x).stages["stage1"], expected.stages["stage1"])
    copy.deepcopy(twin)  # a pass leaves nothing behind that could not be copied
    other = Tap(twin).eval()
    probe(other, x)
    assert not other(x).stages["stage1"].any()
    assert tap(x).stages["stage1"].any()


def test_a_model_that_runs_without_its_tap_is_not_held_on_to():
    tap, x = Tap(foreign()), example()
    probe(tap, x)
    seen = []
    tap.model[1].register_forward_hook(lambda module, args, output: seen.append(weakref.ref(output)))
    tap.model(x)
    gc.collect()
    assert seen[0]() is None


def test_a_pass_that_fails_leaves_nothing_behind():
    tap = Tap(foreign())
    probe(tap, example())
    with pytest.raises(RuntimeError):
        tap(torch.randn(2, 3, 16))
    copy.deepcopy(tap)
    assert not tap._held.tensors


def test_two_taps_of_one_model():
    model, x = foreign().eval(), example()
    one, two = Tap(model, {"a": "0"}), Tap(model, {"b": "1"})
    assert set(one(x).stages) == {"a"}
    assert set(two(x).stages) == {"b"}


def test_a_copy_of_a_compiled_tap_still_catches():
    tap, x = Tap(foreign()).eval(), example()
    probe(tap, x)
    expected = tap(x)
    twin = copy.deepcopy(tap)
    for each in (tap, twin):
        compiled = torch.compile(each, backend="aot_eager", fullgraph=True)
        for _ in range(2):
            output = compiled(x)
            assert set(output.stages) == set(expected.stages)
            torch.testing.assert_close(output.stages["stage2"], expected.stages["stage2"])


# --- what the probe must not change


@pytest.mark.parametrize("make", [foreign, partial(build, "wrn10-0.25", (2, 16), 5)], ids=["foreign", "built in"])
def test_the_probe_leaves_no_trace(make):
    tap = Tap(make())
    tap.train()
    list(tap.model.children())[1].eval()  # a part that its owner has frozen
    modes = [module.training for module in tap.modules()]
    state = {key: x.clone() for key, x in tap.state_dict().items()}
    generator = torch.get_rng_state()
    probe(tap, example())
    assert [module.training for module in tap.modules()] == modes
    assert all(torch.equal(x, state[key]) for key, x in tap.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in tap.parameters())


def test_the_probe_restores_the_mode_after_an_error():
    tap = Tap(foreign())
    with pytest.raises(RuntimeError):
        probe(tap, torch.randn(2, 3, 16))
    assert all(module.training for module in tap.modules())
    assert all(not module._forward_hooks for module in tap.modules())


def test_one_sample_is_enough_for_the_probe():
    assert probe(Tap(foreign()), example(count=1)).classes == 5


# --- teachers


def batch_of(index, x):
    return Batch({"v": x[index]}, torch.zeros(len(index), dtype=torch.long), index)


def teacher_of(name="wrn10-0.25"):
    torch.manual_seed(0)
    model = build(name, (2, 16), 5)
    with torch.no_grad():
        model(example(count=32))  # batch statistics of its own
    return Teacher("t", Tap(model), "v")


def test_a_teacher_is_frozen():
    teacher = teacher_of()
    state = {key: x.clone() for key, x in teacher.tap.state_dict().items()}
    output = teacher(batch_of(torch.arange(4), example()))
    tensors = [output.logits, output.embedding, *output.stages.values()]
    assert not any(x.requires_grad for x in tensors)
    assert not any(x.is_inference() for x in tensors)  # adapters train on them
    assert not any(p.requires_grad for p in teacher.tap.parameters())
    assert not teacher.tap.training
    assert all(torch.equal(x, state[key]) for key, x in teacher.tap.state_dict().items())


def test_a_teacher_is_in_nobodys_state():
    holder = nn.Module()
    holder.teacher = teacher_of()
    assert list(holder.state_dict()) == list(holder.parameters()) == list(holder.children()) == []
    holder.train()
    assert not holder.teacher.tap.training


def test_a_teachers_head_is_differentiable_in_its_input():
    teacher = teacher_of()
    output = teacher(batch_of(torch.arange(4), example()))
    final = output.stages["final"].clone().requires_grad_()
    logits = output.head(final)
    assert torch.equal(logits, output.logits)
    logits.sum().backward()
    assert final.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.tap.parameters())


ALL = frozenset({"logits", "embedding", "head", "stage2", "final"})


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("needs", [frozenset({"logits"}), ALL])
def test_memory_equals_online_in_any_order(size, needs):
    teacher, x = teacher_of(), example(count=40)
    numbers = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:25]
    asked = []

    def fetch(index):
        asked.extend(index.tolist())
        return batch_of(index, x)

    memory = TeacherMemory(teacher, numbers, fetch, needs, batch=size)
    assert asked == sorted(numbers.tolist())  # once each, in order
    for part in (numbers[:8], numbers[8:9], numbers.flip(0), numbers[[3, 3, 0]]):
        online, kept = teacher(batch_of(part, x)), memory(batch_of(part, x))
        torch.testing.assert_close(kept.logits, online.logits, rtol=1e-5, atol=1e-6)
        assert set(kept.stages) == {name for name in online.stages if name in needs}
        for name, stage in kept.stages.items():
            torch.testing.assert_close(stage, online.stages[name], rtol=1e-5, atol=1e-6)
        assert (kept.embedding is not None) == ("embedding" in needs)
        if kept.embedding is not None:
            torch.testing.assert_close(kept.embedding, online.embedding, rtol=1e-5, atol=1e-6)
    assert len(asked) == 25


def test_memory_does_not_depend_on_the_order_of_its_samples():
    teacher, x = teacher_of(), example(count=20)
    numbers = torch.tensor([17, 2, 9, 4, 11])
    one, two = (TeacherMemory(teacher, n, partial(batch_of, x=x), batch=2) for n in (numbers, numbers.flip(0)))
    assert torch.equal(one(batch_of(numbers, x)).logits, two(batch_of(numbers, x)).logits)


def test_a_remembered_head_is_the_teachers():
    teacher, x = teacher_of(), example(count=6)
    memory = TeacherMemory(teacher, torch.arange(6), partial(batch_of, x=x), ALL)
    kept = memory(batch_of(torch.arange(3), x))
    torch.testing.assert_close(kept.head(kept.stages["final"]), kept.logits)


@pytest.mark.parametrize("needs", [frozenset({"logits"}), ALL])
def test_the_size_of_a_memory_is_known_before(needs):
    teacher, x = teacher_of(), example(count=12)
    memory = TeacherMemory(teacher, torch.arange(12), partial(batch_of, x=x), needs, batch=5)
    assert memory.bytes == memory_bytes(teacher(batch_of(torch.arange(2), x)), needs, 12) > 0


@pytest.mark.parametrize("number", [1, 15])
def test_a_sample_that_was_never_computed_is_no_other_sample(number):
    teacher, x = teacher_of(), example(count=20)
    memory = TeacherMemory(teacher, torch.tensor([0, 2, 4, 10]), partial(batch_of, x=x))
    with pytest.raises((OvertoneError, IndexError)):
        memory(batch_of(torch.tensor([0, number]), x))


def test_what_is_not_tapped_is_told():
    with pytest.raises(InputError, match=r"probe takes a tapped model, probe\(Tap\(model\), example\); got Linear"):
        probe(nn.Linear(2, 3), torch.zeros(1, 2))
    with pytest.raises(InputError, match="a tap is of a torch module, got str"):
        Tap("resnet")
