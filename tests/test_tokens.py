"""Transformers as teachers and students: their tokens become maps, their blocks stages."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer as Torchvision

import overtone
from overtone.errors import InputError
from overtone.explain import look
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
    """Of a student that takes pictures of 16 x 16 pixels and knows five classes."""
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
    found = look(student, x, target).maps[""]["grad-cam"]
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
