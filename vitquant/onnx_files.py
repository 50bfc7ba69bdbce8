"""The float32 model as ONNX, and ONNX Runtime's own int8 of it. Needs the optional packages of
requirements-onnx.txt."""

import copy
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from vitquant.vit import Classifier

LARGEST_IN_ONE_FILE = 1_800_000_000
"""Bytes of weights beyond which they go into a file beside the model: protobuf cannot hold 2 GiB."""


def save(model: Classifier, file: Path, image_size: int, *, int8: bool) -> None:
    """Write the float32 model for (N, 3, image_size, image_size) float32 images with any N: "images" ->
    "logits".

    int8: with ONNX Runtime's dynamic quantization of the constant weights of its matrix products (the Linear
    layers): signed, per output channel, and in 7 bits, without which processors that have no VNNI saturate
    (ONNX Runtime's documentation of quantization says so of U8S8 on AVX2).
    """
    model = at_one_size(model, image_size)
    weights_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    beside = weights_bytes > LARGEST_IN_ONE_FILE
    if not int8:
        _export(model, file, image_size, beside)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = file.with_name(f"float32-{file.name}")
    _export(model, whole, image_size, beside)
    # It advises to run a pre-processing that is for convolutions; the root logger is the one it uses.
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            whole,
            file,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=beside,
        )
    finally:
        logging.getLogger().setLevel(level)
        for left in whole.parent.glob(f"{whole.name}*"):
            left.unlink()


def at_one_size(model: Classifier, image_size: int) -> Classifier:
    """The same model with its position embedding resized beforehand, for pictures of this size.

    OpenVINO 2026.4 drops antialiasing, without a word, where an ONNX file asks it to resize: the logits of
    dinov2_vitb14_reg_lc with random weights at 70 x 70 were off by up to 2.6.
    """
    resized = copy.copy(model)
    resized._parameters = dict(model._parameters)
    resized.side = image_size // model.patch_size
    with torch.no_grad():
        both = torch.cat(model.positions(resized.side, resized.side), dim=1)
        resized.pos_embed = nn.Parameter(both, requires_grad=False)
    return resized


def _export(model: nn.Module, file: Path, image_size: int, beside: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, image_size, image_size),),
            file,
            dynamo=True,
            verbose=False,
            external_data=beside,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
