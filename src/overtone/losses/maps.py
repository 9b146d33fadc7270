"""Losses between feature maps, signals' (B, C, T) or images' (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CONTEXTS = (4, 2, 1)


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Hierarchical context loss of one pair of maps: mean squared errors at full size and of coarser averages.

    .. math:: L = \frac{\sum_l w_l\, MSE(pool_l(s), pool_l(t))}{\sum_l w_l},\quad w = 1, \tfrac12, \tfrac14, \tfrac18

    for the full size and sides of 4, 2 and 1; sides that are not smaller than the map are left out, and do not use up
    a weight.

    Args:
        student, teacher: (B, C, T) or (B, C, H, W).

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: for maps of different shapes, or of another number of dimensions.

    Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, and its code.

    Example:
        >>> student, teacher = torch.zeros(1, 1, 4), torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
        >>> hierarchical_context(student, teacher)  # averages of 2 and 1 agree: 1 / (1 + 1/2 + 1/4)
        tensor(0.5714)
    """
    _same_shape("hierarchical_context", student, teacher)
    pool = F.adaptive_avg_pool1d if student.dim() == 3 else F.adaptive_avg_pool2d
    loss, weight, whole = F.mse_loss(student, teacher), 1.0, 1.0
    for side in CONTEXTS:
        if side >= min(student.shape[2:]):
            continue
        weight /= 2
        whole += weight
        loss = loss + weight * F.mse_loss(pool(student, side), pool(teacher, side))
    return loss / whole


def spectrum_distance(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Mean squared difference of two maps' amplitudes over frequency, wherever on the map the waves lie.

    .. math:: L = mean\big( m\,(|F s| - |F t|)^2 \big)

    with the unitary Fourier transform F. (The difference of the complex spectra would be the plain mean squared error,
    by Parseval's theorem.)

    Args:
        student, teacher: (B, C, T) or (B, C, H, W).
        mask: of the map's size, frequency 0 first; all 1 unless given.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: for maps of different shapes, of another number of dimensions, or a mask of another size.

    Example:
        >>> teacher = torch.tensor([[[0.0, 1.0, 0.0, -1.0]]])
        >>> bool(spectrum_distance(teacher.roll(1, 2), teacher) < 1e-6)  # the same wave elsewhere
        True
        >>> spectrum_distance(torch.zeros(1, 1, 4), teacher)
        tensor(0.5000)
    """
    _same_shape("spectrum_distance", student, teacher)
    if mask is not None and mask.shape != student.shape[2:]:
        raise ValueError(
            f"spectrum_distance: the mask has the map's size {tuple(student.shape[2:])}; got {tuple(mask.shape)}"
        )
    dims = tuple(range(2, student.dim()))
    difference = _amplitude(student, dims) - _amplitude(teacher, dims)
    if mask is not None:
        difference = difference * mask
    return difference.square().mean()


def _amplitude(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    spectrum = torch.fft.fftn(x, dim=dims, norm="ortho")
    # Not abs(): compiled, its gradient is not a number where the amplitude is 0.
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()


def attention_transfer(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    r"""Where in the map the energy lies agrees; the larger map is averaged to the smaller one's size.

    .. math:: L = mean_{b,i}\Big(\frac{Q_s}{\lVert Q_s \rVert} - \frac{Q_t}{\lVert Q_t \rVert}\Big)^2,\quad
              Q = mean_c |F|^p

    Args:
        student, teacher: (B, C, T) or (B, C, H, W), of any numbers of channels and sizes.
        power: p.

    Returns:
        A scalar >= 0, unchanged by positive scaling of either side.

    Raises:
        ValueError: for maps of different numbers of dimensions or samples, or empty maps.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, in the form of its code.

    Example:
        >>> teacher = torch.tensor([[[0.0, 1.0]]])
        >>> attention_transfer(5 * teacher, teacher)
        tensor(0.)
        >>> attention_transfer(teacher.flip(2), teacher)
        tensor(1.)
    """
    _map_shapes("attention_transfer", student, teacher)
    if student.dim() != teacher.dim() or len(student) != len(teacher):
        raise ValueError(
            "attention_transfer: two batches of maps of one kind, (B, C, T) or (B, C, H, W), are compared; got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    size = tuple(min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
    pool = F.adaptive_avg_pool1d if len(size) == 1 else F.adaptive_avg_pool2d

    def energy(x: Tensor) -> Tensor:
        x = x if tuple(x.shape[2:]) == size else pool(x, size)  # type: ignore[arg-type]
        return F.normalize(x.abs().pow(power).mean(1).flatten(1), dim=1)  # (B, positions)

    return F.mse_loss(energy(student), energy(teacher))


def _map_shapes(name: str, student: Tensor, teacher: Tensor) -> None:
    for x in (student, teacher):
        if x.dim() not in (3, 4) or min(x.shape[1:]) < 1:
            raise ValueError(
                f"{name}: maps (B, C, T) or (B, C, H, W) are compared, each side at least 1; got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            )


def _same_shape(name: str, student: Tensor, teacher: Tensor) -> None:
    _map_shapes(name, student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"{name}: both maps have the same shape; got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
