"""Transformers as teachers and students: their tokens become maps, their blocks stages."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer as Torchvision

import overtone
from overtone.errors import InputError
from overtone.explain import saliency
from overtone.models import build
from overtone.recipe import ModelOptions
from overtone.student import Header, SeenView, Student, load_student, save_student
from overtone.tap import Tap, probe
from overtone.tokens import as_map, spaced
from overtone.views import VIEWS


def vit(size: tuple[int, int] = (16, 16), depth: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return VisionTransformer(img_size=size, patch_size=4, embed_dim=12, depth=depth, num_heads=2, num_classes=5)


@pytest.mark.parametrize(("prefix", "size"), [(0, (4, 4)), (1, (4, 4)), (1, (3, 6)), (2, (6, 3)), (5, (5, 5))])
def test_tokens_are_laid_out_as_the_patches_are(prefix: int, size: tuple[int, int]) -> None:
    height, width = size
    tokens = torch.randn(2, prefix + height * width, 7)
    made = as_map(tokens, torch.zeros(2, 3, 8 * height, 8 * width), nn.Identity())
    assert made.shape == (2, 7, height, width)
    for row in range(height):
        for column in range(width):
            assert torch.equal(made[:, :, row, column], tokens[:, prefix + row * width + column])


def test_what_is_no_map_stays_as_it_is() -> None:
    image, signal = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16)
    for held, x in ((torch.zeros(2, 4, 9), signal), (torch.zeros(2, 15, 9), image), (torch.zeros(2, 9), image)):
        assert as_map(held, x, nn.Identity()) is held


@pytest.mark.parametrize(("blocks", "chosen"), [(12, [2, 5, 8, 11]), (6, [1, 2, 3, 5]), (4, [0, 1, 2, 3]), (2, [0, 1])])
def test_stages_are_evenly_spaced_blocks(blocks: int, chosen: list[int]) -> None:
    assert list(spaced([str(n) for n in range(blocks)]).values()) == [str(n) for n in chosen]


@pytest.mark.parametrize("size", [(16, 16), (8, 16)])
def test_a_vision_transformer_of_timm(size: tuple[int, int]) -> None:
    model = vit(size).eval()
    tap, x = Tap(model), torch.randn(2, 3, *size)
    spec = probe(tap, x)
    grid = (size[0] // 4, size[1] // 4)
    assert {name: stage.shape for name, stage in spec.stages.items()} == {f"stage{n}": (12, *grid) for n in range(1, 5)}
    assert spec.embedding == 12
    with torch.no_grad():
        tokens = model.pos_drop(model._pos_embed(model.patch_embed(x)))
        for block in model.blocks:
            tokens = block(tokens)
        expected = tokens[:, 1:].transpose(1, 2).reshape(2, 12, *grid)
        assert torch.allclose(tap(x).stages["stage4"], expected, atol=1e-6)


def test_a_vision_transformer_that_declares_nothing() -> None:
    torch.manual_seed(0)
    model = Torchvision(
        image_size=16, patch_size=4, num_layers=4, num_heads=2, hidden_dim=12, mlp_dim=12, num_classes=5
    )
    tap = Tap(model)
    spec = probe(tap, torch.randn(1, 3, 16, 16))
    assert list(tap.at.values()) == [f"encoder.layers.encoder_layer_{n}" for n in range(4)]
    assert {stage.shape for stage in spec.stages.values()} == {(12, 4, 4)}


@pytest.mark.parametrize("way", ["to", "from"])
def test_frequency_attention_between_a_transformer_and_a_convolutional_network(way: str) -> None:
    student, teacher = vit(), build("resnet8", (3, 16, 16), 5)
    pairs = {"stage1": "stage1", "stage2": "stage2", "stage4": "stage3"}
    if way == "from":
        student, teacher, pairs = teacher, student, {mine: theirs for theirs, mine in pairs.items()}
    x, y = torch.randn(4, 3, 16, 16), torch.arange(4)
    loop = overtone.Distillation.between(student, teacher, "fam_layer", example=x, pairs=pairs)
    step = loop(x, y)
    step.terms["fam_layer.map.teacher"].backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_stages_that_cannot_be_paired_are_told_with_their_shapes() -> None:
    with pytest.raises(InputError, match=r"the student has 4 .*12x4x4.* give pairs"):
        overtone.Distillation.between(
            vit(), build("resnet8", (3, 16, 16), 5), "fam_layer", example=torch.randn(2, 3, 16, 16)
        )


SMALL = {"patch_size": 4, "embed_dim": 12, "depth": 4, "num_heads": 2}


def header_of(name: str, options: ModelOptions) -> Header:
    """Of a student that takes images of 16 x 16 pixels and knows five classes."""
    return Header(
        builder=name,
        input_shape=(3, 16, 16),
        classes=tuple("abcde"),
        channels=("r", "g", "b"),
        rate=None,
        window=(16, 16),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        options=options,
        views=(SeenView(type="image", settings={}, state={}),),
    )


def test_a_transformer_is_made_for_the_images_size_and_kept_in_its_file(tmp_path) -> None:
    name, options = "timm:vit_tiny_patch16_224", ModelOptions(arguments=SMALL)
    torch.manual_seed(0)
    model = build(name, (3, 16, 16), 5, options)
    header = header_of(name, options)
    save_student(tmp_path / "student.safetensors", model.state_dict(), header)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(load_student(tmp_path / "student.safetensors").model(x), model.eval()(x))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_grad_cam_of_a_transformer(pool: str) -> None:
    """By its patches: of the last block whose patches the logits depend on, which a class token's do not."""
    name, options = "timm:vit_tiny_patch16_224", ModelOptions(arguments={**SMALL, "global_pool": pool})
    torch.manual_seed(0)
    header = header_of(name, options)
    student = Student(build(name, (3, 16, 16), 5, options), header, [VIEWS["image"]()]).eval()
    x, target = torch.randn(2, 3, 16, 16), torch.tensor([1, 3])
    found = saliency(student, x, target).maps[""]["grad-cam"]
    blocks = list(student.model.blocks)
    caught: list[torch.Tensor] = []
    block = blocks[-1] if pool == "avg" else blocks[round(len(blocks) * 3 / 4) - 1]
    hook = block.register_forward_hook(lambda *held: caught.append(held[-1]))
    with torch.enable_grad():
        score = student.model(student.inputs(x)[0])[torch.arange(2), target].sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(score, caught)
    prefix = student.model.num_prefix_tokens
    expected = (caught[0][:, prefix:] * gradient[:, prefix:].mean(1, keepdim=True)).sum(2).relu()
    assert expected.max() > 0
    torch.testing.assert_close(found.flatten(1), expected.detach())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("timm:vit_tiny_patch16_224", {"patch_sise": 4}, "cannot be made with .*patch_sise=4"),
        ("resnet8", {"width": 4}, "arguments are for models that are not built in"),
    ],
)
def test_arguments_that_a_model_does_not_take(name: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, (3, 16, 16), 5, ModelOptions(arguments=arguments))


# --- signals


class Block(nn.Module):
    """A transformer's block as many write it themselves, with the weights of attention as a module's output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.ask, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.soft, self.after = nn.Softmax(-1), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.ask(self.before(x)).chunk(3, -1)
        x = x + self.out(self.soft(q @ k.transpose(1, 2)) @ v)
        return x + self.mlp(self.after(x))


class Wave(nn.Module):
    """A transformer for signals of 3 x 32: what becomes a token, how many stand in front, whose blocks they are."""

    def __init__(
        self, embed: str = "conv", front: int = 0, first: bool = True, own: bool = False, width: int = 12
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.front, self.first = embed, front, first
        sizes = {"linear": 3, "windows": 12, "single": 4}
        strides = {"conv": 4, "overlapping": 2}
        self.embed = nn.Linear(sizes[embed], width) if embed in sizes else nn.Conv1d(3, width, 4, strides[embed])
        self.extra = nn.Parameter(torch.randn(1, front, width))
        self.drop, self.norm, self.fc = nn.Dropout(0.1), nn.LayerNorm(width), nn.Linear(width, 5)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=first)
        self.blocks = nn.Sequential(*[Block(width) if own else copy.deepcopy(layer) for _ in range(4)])

    def embedded(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "linear":
            return self.embed(x.transpose(1, 2))
        if self.kind in ("windows", "single"):  # of all channels, or of one each
            x = x.unfold(2, 4, 4)
            return self.embed(x.transpose(1, 2).flatten(2) if self.kind == "windows" else x.flatten(1, 2))
        return self.embed(x).transpose(1, 2)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        """(B, front + N, D)."""
        x = self.drop(torch.cat([self.extra.expand(len(x), -1, -1), self.embedded(x)], 1))
        return self.blocks(x) if self.first else self.blocks(x.transpose(0, 1)).transpose(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.tokens(x)).mean(1))


BATCHES = (1, 4, 8, 9)
"""Also as many as there are tokens."""
WAVES = [
    *[(embed, front, True, False, 12) for embed in ("conv", "overlapping", "linear", "windows") for front in (0, 1, 2)],
    *[("conv", front, False, False, 12) for front in (0, 1)],
    *[("conv", front, True, True, 12) for front in (0, 1)],
    *[(embed, front, True, own, 8) for embed in ("conv", "windows") for front in (0, 1) for own in (False, True)],
]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(("embed", "front", "first", "own", "width"), WAVES)
def test_a_transformer_of_signals(embed: str, front: int, first: bool, own: bool, width: int) -> None:
    """Channels and time stay apart, also where there are as many of one as of the other."""
    model = Wave(embed, front, first, own, width)
    length = {"linear": 32, "overlapping": 15}.get(embed, 8)
    for samples in BATCHES:
        tap, x = Tap(model), torch.randn(samples, 3, 32)
        spec = probe(tap, x, [("time",)])
        assert [spec.stages[stage].shape for stage in spec.depth_stages()] == [(width, length)] * 4
        assert list(tap.at.values()) == [f"blocks.{n}" for n in range(4)]
        assert spec.axes == ("time",)
        with torch.no_grad():
            expected = model.eval().tokens(x)[:, front:].transpose(1, 2)
            torch.testing.assert_close(tap(x).stages["stage4"], expected, rtol=1e-4, atol=1e-5)
            twin = copy.deepcopy(tap)
            torch.testing.assert_close(twin(x).stages["stage4"], expected, rtol=1e-4, atol=1e-5)
        tap.release()


def test_tokens_that_are_not_known_to_be_time_are_no_stages() -> None:
    """Windows of one channel after the other: N is channels and time in one."""
    x = torch.randn(2, 3, 32)
    assert probe(Tap(Wave("single")), x).stages == {}
    with pytest.raises(InputError, match=r"tap: s \(blocks.1\) gives \(24, 12\) of a signal \(3, 32\), and which axis"):
        probe(Tap(Wave("single"), {"s": "blocks.1"}), x)


def test_attention_between_channels_is_not_over_time() -> None:
    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Linear(32, 12), nn.Linear(12, 5)
            self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(12, 2, 12, batch_first=True) for _ in range(2)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.blocks(self.embed(x)).mean(1))

    tap = Tap(Inverted())
    probe(tap, torch.randn(2, 3, 32))
    assert not any("blocks" in path for path in tap.at.values())
    with pytest.raises(InputError, match="which axis is time cannot be told"):
        probe(Tap(Inverted(), {"s": "blocks.0"}), torch.randn(2, 3, 32))


def test_a_module_that_is_named_is_read_the_same_way() -> None:
    model, x = Wave("conv", 1, False), torch.randn(8, 3, 32)
    tap = Tap(model, {"early": "embed", "late": "blocks.3"})
    spec = probe(tap, x)
    assert {name: stage.shape for name, stage in spec.stages.items()} == {"early": (12, 8), "late": (12, 8)}
    torch.testing.assert_close(tap.eval()(x).stages["late"], model.eval().tokens(x)[:, 1:].transpose(1, 2))


class Recurrent(nn.Module):
    """Layers of nn.LSTM and the like, after a convolution or not."""

    def __init__(self, kind: type[nn.RNNBase], first: bool, layers: int, conv: bool = False) -> None:
        super().__init__()
        self.first, self.conv = first, nn.Conv1d(3, 6, 5, 2) if conv else None
        widths = [6 if conv else 3, *[8] * layers]
        self.layers = nn.ModuleList(kind(a, b, batch_first=first) for a, b in itertools.pairwise(widths))
        self.drop, self.norm, self.fc = nn.Dropout(0.1), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x if self.conv is None else self.conv(x)).transpose(1, 2)
        x = x if self.first else x.transpose(0, 1)
        for layer in self.layers:
            x = self.drop(layer(x)[0])
        return self.fc(self.norm(x).mean(1 if self.first else 0))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: type[nn.RNNBase], first: bool) -> None:
    for layers, stages in ((1, ["layers.0"]), (2, ["layers.0", "layers.1"])):
        model, x = Recurrent(kind, first, layers), torch.randn(4, 3, 32)
        tap = Tap(model)
        spec = probe(tap, x)
        assert list(tap.at.values()) == stages
        assert {stage.shape for stage in spec.stages.values()} == {(8, 32)}
        given = x.transpose(1, 2) if first else x.permute(2, 0, 1)
        expected = model.layers[0](given)[0]
        expected = (expected if first else expected.transpose(0, 1)).transpose(1, 2)
        torch.testing.assert_close(tap.eval()(x).stages["stage1"], expected)
    tap = Tap(Recurrent(kind, first, 1, conv=True))
    assert [stage.shape for stage in probe(tap, x).stages.values()] == [(8, 14)]


def test_a_convolution_between_transpositions() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv1d(3, 8, 3, padding=1), nn.Conv1d(8, 16, 3, 2, 1)
            self.norm, self.act, self.fc = nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.act(self.norm(self.two(self.one(x)).transpose(1, 2))).transpose(1, 2)
            return self.fc(x.mean(2))

    model, x = Mixed().eval(), torch.randn(2, 3, 32)
    tap = Tap(model)  # 16 channels at 16 times
    assert [stage.shape for stage in probe(tap, x).stages.values()] == [(8, 32), (16, 16)]
    torch.testing.assert_close(tap(x).stages["stage2"], model.two(model.one(x)))  # the last with time behind


def test_a_transformer_teaches_a_network_of_signals_by_maps() -> None:
    student, x, y = build("wrn10-0.25", (3, 32), 5), torch.randn(8, 3, 32), torch.arange(8) % 5
    pairs = {"stage2": "stage2", "stage3": "stage4"}
    loop = overtone.Distillation.between(student, Wave("conv", 1), "at", example={"signal": x}, pairs=pairs)
    step = loop({"signal": x}, y)
    step.total.backward()
    maps = [value for name, value in step.terms.items() if name.startswith("at.")]
    assert maps
    assert all(value > 0 for value in maps)
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_tokens_of_images_with_the_sequence_first() -> None:
    """Also where a batch holds as many samples as there are patches."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.fc = nn.Conv2d(3, 12, 4, 4), nn.Linear(12, 5)
            self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(12, 2, 12) for _ in range(4)])

        def tokens(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks(self.embed(x).flatten(2).permute(2, 0, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.tokens(x).mean(0))

    model = Patches()
    for samples in (1, 4, 16):
        tap, x = Tap(model), torch.randn(samples, 3, 16, 16)
        assert [stage.shape for stage in probe(tap, x).stages.values()] == [(12, 4, 4)] * 4
        expected = model.eval().tokens(x).permute(1, 2, 0).unflatten(2, (4, 4))
        torch.testing.assert_close(tap.eval()(x).stages["stage4"], expected, rtol=1e-4, atol=1e-5)
        tap.release()
