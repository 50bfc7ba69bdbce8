"""The float32 models: weights in the architectures of vitquant/vit.py; the samples' planted outliers."""

import zlib
from typing import Any

import torch

from vitquant import catalog, checkpoints, vit
from vitquant.catalog import ModelSpec, Outliers
from vitquant.digests import sha256_of
from vitquant.vit import Classifier
from vitquant.weights import Weights, digest


def architecture(spec: ModelSpec) -> dict[str, Any]:
    """What vit.build takes to make this model; plain data."""
    if spec.family == "timm":
        return {
            "family": "timm",
            "timm_name": spec.timm_name,
            "pretraining_size": spec.pretraining_size,
            "mean": spec.mean,
            "std": spec.std,
        }
    return {
        "family": "dinov2",
        "timm_name": spec.timm_name,
        "width": spec.width,
        "depth": spec.depth,
        "heads": spec.heads,
        "registers": spec.registers,
        "pretraining_size": spec.pretraining_size,
    }


def new(spec: ModelSpec) -> Classifier:
    """A model of the catalog whose numbers are not set."""
    return vit.build(architecture(spec))


def load(weights: Weights) -> Classifier:
    """The model with its weights: float32, in evaluation mode, gradients off.

    Where the model has no head, its head is zero. Raises InputError, naming file and tensor, where the weights
    are not there or not this model's.
    """
    spec = catalog.model(weights.model)
    with torch.device("meta"):  # shapes only: no memory taken, no time lost on values soon replaced
        model = new(spec)
    names = {checkpoint_name(spec, name): name for name, _ in model.named_parameters()}
    shapes = {name: tuple(model.get_parameter(ours).shape) for name, ours in names.items()}
    if weights.source == "bundled":
        digest(weights, sha256_of)  # says what is wrong with a file that is not as it was shipped
    if weights.source == "random":
        tensors = {name: random_tensor(name, shape) for name, shape in shapes.items()}
    elif weights.source == "own":
        wanted = shapes if spec.has_head else checkpoints.without_head(shapes)
        zeros = {name: torch.zeros(shape) for name, shape in shapes.items() if name not in wanted}
        tensors = checkpoints.read_own(weights.files, wanted, spec.name) | zeros
    else:
        tensors = checkpoints.read(spec, weights.files, shapes)
    model.load_state_dict({names[name]: tensor for name, tensor in tensors.items()}, assign=True)
    model.requires_grad_(False).eval()
    if spec.planted:
        plant(model, spec.planted)
    return model


def checkpoint_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model's checkpoint by its name there; the head's with the prefix
    "linear_head."."""
    with torch.device("meta"):
        model = new(spec)
    return {checkpoint_name(spec, name): tuple(p.shape) for name, p in model.named_parameters()}


def plant(model: Classifier, outliers: Outliers) -> None:
    """Give a model outlier channels, in place, without changing what it computes in float32.

    In every LayerNorm the weight and the bias of these channels are multiplied by the factor, and the columns
    of the Linear after it that read them (qkv, fc1; in the head, those of all five segments that share the
    last norm) are divided by it. The factor is a power of two: multiplying and dividing by it is exact, so
    that the float32 logits stay what they were.

    It is the shape of the outlier channels that large vision transformers grow by themselves, as RegCache
    (arXiv 2510.04547) and SmoothQuant (arXiv 2211.10438) describe them. Here they are planted. Dynamic int8
    has one scale for all activations of a layer; it must reach as far as the largest channel, which leaves
    the others few of its levels. The notebook reports the same collapse on the full-size DINOv2; such
    channels are the likely cause there, to be checked on its weights.
    """
    columns = list(outliers.channels)
    width = model.head_norm.weight.shape[0]
    segments = range(0, model.linear_head.in_features, width)
    in_head = [start + column for start in segments for column in columns]
    pairs = [(block.norm1, block.attn.qkv, columns) for block in model.blocks]
    pairs += [(block.norm2, block.mlp.fc1, columns) for block in model.blocks]
    pairs.append((model.head_norm, model.linear_head, in_head))
    for norm, linear, read_by in pairs:
        norm.weight[columns] *= outliers.factor
        norm.bias[columns] *= outliers.factor
        linear.weight[:, read_by] /= outliers.factor


def checkpoint_name(spec: ModelSpec, name: str) -> str:
    """What the checkpoints call this parameter; the head's with the prefix "linear_head."."""
    if spec.gated_mlp:
        return name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
    return name


def random_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A parameter's random values, float32: they depend on its checkpoint name and shape alone.

    The scales keep every block active and the logits diverse, unlike a fresh initialisation, whose layer
    scales of 1e-5 switch the blocks off. Where the rule changes, so must weights.RANDOM_DIGEST.
    """
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("gamma"):
        return values.mul_(0.05).add_(0.5)
    if "norm" in name and name.endswith("weight"):
        return values.mul_(0.1).add_(1.0)
    if name in ("pos_embed", "cls_token", "register_tokens", "reg_token"):
        return values.mul_(0.5)
    return values.mul_(0.04)
