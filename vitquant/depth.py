"""Where the error grows: the tokens of two models compared after each block."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from vitquant.runs import Rows

FIGURES = 4
"""Of each picture: cosine of the class token, mean cosine of the patches, signal, noise."""


def compared(exact: torch.Tensor, found: torch.Tensor, registers: int) -> np.ndarray:
    """FIGURES for each picture: (N, 4) float64. Tokens (N, 1 + registers + patches, width) float32; registers
    count in signal (sum of squares of the exact tokens) and noise (of the difference) alone."""
    first, second = exact.double(), found.double()
    cosine = F.cosine_similarity(first, second, dim=-1)
    figures = (
        cosine[:, 0],
        cosine[:, 1 + registers :].mean(dim=1),
        first.square().sum(dim=(1, 2)),
        (first - second).square().sum(dim=(1, 2)),
    )
    return torch.stack(figures, dim=1).numpy()


def rows(figures: np.ndarray) -> Rows:
    """One row a block. figures: (blocks, N, 4), what compared() gives after each block."""
    return [
        {
            "part": "depth",
            "block": block,
            "class_cosine": float(of_block[:, 0].mean()),
            "patch_cosine": float(of_block[:, 1].mean()),
            "sqnr_db": decibels(float(of_block[:, 2].sum()), float(of_block[:, 3].sum())),
        }
        for block, of_block in enumerate(figures)
    ]


def sqnr_db(exact: np.ndarray, found: np.ndarray) -> float | None:
    """Signal-to-quantization-noise ratio in dB, over all numbers: 10 * log10(sum of x^2 / sum of (x - y)^2).
    None where they are the same to the last bit."""
    first = exact.astype(np.float64)
    return decibels(float((first**2).sum()), float(((first - found) ** 2).sum()))


def decibels(signal: float, noise: float) -> float | None:
    """A ratio of powers in dB; None where there is no noise."""
    return 10 * math.log10(signal / noise) if noise else None
