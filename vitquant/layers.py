"""The Linear layers of a model by name: which block each belongs to, and its kind. Imports no torch."""

from dataclasses import dataclass

from vitquant import catalog
from vitquant.catalog import ModelSpec

KINDS = {
    # what a layer does, as DINOv2's and timm's modules call it -> for people
    "qkv": "query, key and value",
    "proj": "output of attention",
    "fc1": "into the MLP",
    "fc2": "out of the MLP",
    "head": "the classifier",
}

HEAD = "linear_head"

_IN_BLOCK = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


@dataclass(frozen=True)
class Layer:
    """One Linear layer: its module's name, its block (None: the head), and its kind."""

    name: str
    block: int | None
    kind: str

    @property
    def title(self) -> str:
        """For people: "block 3, qkv"."""
        return "head" if self.block is None else f"block {self.block}, {self.kind}"


def of(spec: ModelSpec) -> tuple[Layer, ...]:
    """Every Linear layer of a model, in the order in which a picture passes them."""
    in_blocks = [
        Layer(f"blocks.{block}.{path}", block, kind)
        for block in range(spec.depth)
        for kind, path in _IN_BLOCK.items()
    ]
    return (*in_blocks, Layer(HEAD, None, "head"))


def layer(spec: ModelSpec, name: str) -> Layer:
    """The layer of that module name; InputError, with the nearest names, where the model has none."""
    known = {one.name: one for one in of(spec)}
    if name not in known:
        raise catalog.unknown("layer", name, known, "python -m vitquant diagnose")
    return known[name]
