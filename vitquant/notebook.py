"""The figures of the notebook that this project grew from, as it printed them, to set beside one's own.

Measured by its author, on another machine, with dinov2_vitb14_reg_lc and Torch Hub's weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

TITLE = "For comparison: the table of the notebook that vitquant grew out of"
WHAT = (
    "vitquant began as a notebook that quantized one DINOv2 model with torch and could not explain what it "
    "found. Its author's figures, not measured here:"
)

MODEL = "dinov2_vitb14_reg_lc"

ACCURACY = (
    # variant, share of Tiny-ImageNet's 10,000 pictures whose class is among the first five answers
    {"variant": "fp32", "top-5": 0.7209},
    {"variant": "qint8", "top-5": 0.0718},
    {"variant": "float16", "top-5": 0.7208},
)

LATENCY_S: tuple[Mapping[str, Any], ...] = (
    # seconds a batch on 6 threads
    {"shape": "1x518", "fp32": 3.1, "qint8": 2.1, "float16": 2.7},
    {"shape": "2x518", "fp32": 4.4, "qint8": 3.9, "float16": 4.2},
    {"shape": "4x518", "fp32": 8.8, "qint8": 8.2, "float16": 10.8},
    {"shape": "8x518", "fp32": 23.1, "qint8": 18.2, "float16": 20.7},
)

SIZE = (
    # The notebook calls both columns MB; its disk figures are MiB (2^20 bytes), its memory figures MB
    # (10^6 bytes) and only what parameters() counts.
    {"variant": "fp32", "disk (MiB)": 345.026460647583, "memory (MB)": 361.698208},
    {"variant": "qint8", "disk (MiB)": 91.05587959289551, "memory (MB)": 6.263808},
    {"variant": "float16", "disk (MiB)": 345.040864944458, "memory (MB)": 6.263808},
)


CLOSE = 1e-3
"""Sizes on disk within this share of the notebook's are its figures reproduced: a file also holds names and
structure, which differ between programs."""


def latency_beside(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The notebook's latency table with one's own medians (latency.rows) beside it, None where a shape or a
    variant was not measured. Times are seconds; ratios say how many times as fast as fp32."""
    own = {(row["shape"], row["variant"]): row["median_s"] for row in rows}
    found = []
    for line in LATENCY_S:
        for variant in ("fp32", "qint8", "float16"):
            mine, fp32 = (own.get((str(line["shape"]), name)) for name in (variant, "fp32"))
            found.append(
                {
                    "shape": line["shape"],
                    "variant": variant,
                    "notebook (s)": line[variant],
                    "notebook, × fp32": float(line["fp32"]) / float(line[variant]),
                    "here (s)": mine,
                    "here, × fp32": fp32 / mine if fp32 and mine else None,
                }
            )
    return found
