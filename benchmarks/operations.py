"""What a forward pass spends its time on, in five classes that hold for every runtime."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from vitquant import profile
from vitquant.latency import Shape

LINEAR, ATTENTION, NORM, GELU, OTHER = CLASSES = ("Linear", "attention", "LayerNorm", "GELU", "other")
"""Linear: with its bias, and with the rounding of its input where the runtime does that by itself. attention:
with the rearranging of queries, keys and values. other: patches, layer scales, residual sums, tokens."""

_LINEAR_ONLY = (
    "Gemm",
    "FullyConnected",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "DynamicQuantizeLinear",
)


@dataclass(frozen=True)
class Step:
    """One node of a runtime's graph as it was executed."""

    operation: str  # as the runtime calls it
    inputs: tuple[tuple[int, ...], ...]  # their shapes; without constants where the runtime leaves them out
    parts: tuple[str, ...]  # names of the nodes of the original graph that it does the work of
    seconds: float


def by_class(steps: Iterable[Step]) -> dict[str, float]:
    """Seconds by CLASSES, of the steps of one forward pass in their order."""
    found = dict.fromkeys(CLASSES, 0.0)
    in_blocks = False
    for step in steps:
        kind = _class_of(step)
        # Pictures have as many axes as attention's tensors; the first LayerNorm ends what is done to them.
        in_blocks = in_blocks or kind == NORM
        found[kind if in_blocks else OTHER] += step.seconds
    return found


def _class_of(step: Step) -> str:
    """Its class, by what it does first: a runtime fuses what follows into a Linear layer."""
    if step.operation.startswith(_LINEAR_ONLY):
        return LINEAR
    if step.operation.endswith("LayerNormalization") or step.operation == "MVN":
        return NORM
    if any("layer_norm" in part for part in step.parts):
        return NORM
    if "Gelu" in step.operation:
        return GELU
    if any(len(shape) >= 4 for shape in step.inputs):  # batch, heads, tokens, width of a head
        return ATTENTION
    if step.operation == "MatMul" or any("fq_output" in part for part in step.parts):  # fq: NNCF's rounding
        return LINEAR
    if step.operation == "Add" and any(len(shape) == 1 for shape in step.inputs):  # a bias
        return LINEAR
    return OTHER


def of_torch(model: nn.Module, shape: Shape, threads: int) -> dict[str, float]:
    """Seconds by CLASSES of a variant in torch, from the self time of its layers' operators."""
    found = dict.fromkeys(CLASSES, 0.0)
    for layer in profile.measure(model, shape, threads).layers:
        kind = {"attention": ATTENTION, "MLP": GELU, "norm": NORM}.get(layer.kind, OTHER)
        found[LINEAR if layer.is_linear else kind] += layer.self_cpu_s
    return found
