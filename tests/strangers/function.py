import torch

KEEP = 12


def slow(windows, floor=1e-3):
    return torch.fft.rfft(windows).abs()[..., :KEEP] + floor


slow.AXES = ("frequency",)
