"""Which models and datasets exist: those that vitquant knows, and what a person has added.

Plain data; imports no torch.

Variants are registered beside their recipes, in vitquant/variants.py.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from vitquant import registry, settings
from vitquant.errors import InputError

T = TypeVar("T")

DEFAULT_MODEL = "dinov2_vitb14_reg_lc"
"""The notebook's: what the commands take unless told otherwise."""
FIRST_SIGHT = "sample_outliers"
"""What the dashboard opens on: int8 ruins it, as it ruins the notebook's model."""
MAX_IMAGE_SIZE = 4200
"""90,000 of DINOv2's patches: attention over more of them fits no machine's memory."""
DEFAULT_IMAGE_SIZE = 70
"""The notebook's: the multiple of DINOv2's patch size closest to Tiny-ImageNet's 64 pixels."""


def hub_address() -> str:
    """Where Torch Hub keeps DINOv2's checkpoints; the settings may name a mirror."""
    return settings.value("mirror") or "https://dl.fbaipublicfiles.com/dinov2"


@dataclass(frozen=True)
class Outliers:
    """Channels that are scaled up in every LayerNorm, and down in the Linear after it: see models.plant."""

    channels: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class ModelSpec:
    """A vision transformer with ImageNet's 1000 classes as output: one of Torch Hub's DINOv2 linear
    classifiers, a sample, or somebody's own: a DINOv2 or one of timm's ViTs."""

    name: str
    title: str
    home: str  # where its own weights come from: "hub", "bundled" with the project, or "own" files
    timm_name: str
    hub_base: str  # folder of the checkpoints: "dinov2_vitb14"; "" where Torch Hub has none
    hub_full: str  # stem of the checkpoint files: "dinov2_vitb14_reg4"; likewise
    width: int
    depth: int
    heads: int
    registers: int
    backbone_parameters: int  # numbers in the backbone's checkpoint, mask token included
    head_parameters: int
    family: str = "dinov2"  # or "timm": which of vit.py's forms it has
    patch_size: int = 14  # in pixels
    pretraining_size: int = 518  # the image size in pixels that its position embedding belongs to
    mean: tuple[float, ...] = ()  # of one of timm's: how its pictures were normalised, red, green, blue
    std: tuple[float, ...] = ()
    stored_as: str = "float32"  # the type of the numbers in its checkpoints
    planted: Outliers | None = None
    files: tuple[str, ...] = ()  # of an own model: the paths of its checkpoints
    trained_on: str | None = None  # of an own model: the dataset that its head was trained on here
    has_head: bool = True  # else it is a backbone alone, to train a head on: it gives no answers
    removed_at: str | None = None  # of an own model that was removed: what was measured stays

    @property
    def parameters(self) -> int:
        """How many numbers the float32 model has, as Torch Hub's model counts them."""
        return self.backbone_parameters + self.head_parameters

    @property
    def head_blocks(self) -> int:
        """How many of the last blocks the head reads."""
        return 4 if self.family == "dinov2" else 1

    @property
    def head_segments(self) -> int:
        """How many tokens the head reads side by side: DINOv2's the class tokens of those blocks and the mean
        of the last one's patches; timm's one."""
        return self.head_blocks + 1 if self.family == "dinov2" else 1

    @property
    def usual_image_size(self) -> int:
        """In pixels, what it is measured at unless somebody says otherwise: the notebook's, or of one of timm's
        the size that it was trained at."""
        return DEFAULT_IMAGE_SIZE if self.family == "dinov2" else self.pretraining_size

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """The sizes that are offered: those near Tiny-ImageNet's pictures and ImageNet's, and the size that its
        position embedding belongs to."""
        near = [max(round(size / self.patch_size), 1) * self.patch_size for size in (DEFAULT_IMAGE_SIZE, 224)]
        usual = 518 if self.family == "dinov2" else self.pretraining_size
        return tuple(sorted({*near, usual}))

    @property
    def download_bytes(self) -> int:
        """Expected download: 4 bytes for each float32 parameter (file headers add well under 0.1%).

        Nothing where the weights come with the project.
        """
        return 4 * self.parameters if self.home == "hub" else 0

    @property
    def gated_mlp(self) -> bool:
        """Whether its MLPs are gated (SwiGLU): ViT-g's alone are."""
        return self.hub_base == "dinov2_vitg14"

    @property
    def backbone_file(self) -> str:
        return f"{self.hub_full}_pretrain.pth"

    @property
    def head_file(self) -> str:
        return f"{self.hub_full}_linear4_head.pth"

    @property
    def backbone_url(self) -> str:
        return f"{hub_address()}/{self.hub_base}/{self.backbone_file}"

    @property
    def head_url(self) -> str:
        return f"{hub_address()}/{self.hub_base}/{self.head_file}"


def _dinov2(
    letter: str, name: str, width: int, depth: int, heads: int, parameters: tuple[int, int, int]
) -> list[ModelSpec]:
    """The two models of one size, without and with registers.

    parameters: of the backbone without registers, of the backbone with registers, of the head
    (counted in the checkpoints' shapes).
    """
    base = f"dinov2_vit{letter}14"
    timm_name = {"s": "small", "b": "base", "l": "large", "g": "giant"}[letter]
    plain, registers, head = parameters
    return [
        ModelSpec(
            name=f"{base}_lc",
            title=f"DINOv2 {name}, linear classifier",
            home="hub",
            timm_name=f"vit_{timm_name}_patch14_dinov2",
            hub_base=base,
            hub_full=base,
            width=width,
            depth=depth,
            heads=heads,
            registers=0,
            backbone_parameters=plain,
            head_parameters=head,
        ),
        ModelSpec(
            name=f"{base}_reg_lc",
            title=f"DINOv2 {name} with registers, linear classifier",
            home="hub",
            timm_name=f"vit_{timm_name}_patch14_reg4_dinov2",
            hub_base=base,
            hub_full=f"{base}_reg4",
            width=width,
            depth=depth,
            heads=heads,
            registers=4,
            backbone_parameters=registers,
            head_parameters=head,
        ),
    ]


def _sample(name: str, title: str, planted: Outliers | None = None) -> ModelSpec:
    """The project's own model, trained on rendered pictures: DINOv2's form in small."""
    return ModelSpec(
        name=name,
        title=title,
        home="bundled",
        timm_name="vit_small_patch14_reg4_dinov2",
        hub_base="sample",
        hub_full="sample",
        width=192,
        depth=8,
        heads=3,
        registers=4,
        backbone_parameters=3_681_600,
        head_parameters=961_000,
        pretraining_size=70,
        stored_as="float16",
        planted=planted,
    )


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in [
        _sample("sample_outliers", "Sample ViT with planted outliers", Outliers((17, 62, 105, 151), 256.0)),
        _sample("sample", "Sample ViT, trained on rendered pictures"),
        *_dinov2("s", "ViT-S/14", 384, 12, 6, (22_056_576, 22_058_112, 1_921_000)),
        *_dinov2("b", "ViT-B/14", 768, 12, 12, (86_580_480, 86_583_552, 3_841_000)),
        *_dinov2("l", "ViT-L/14", 1024, 24, 16, (304_368_640, 304_372_736, 5_121_000)),
        *_dinov2("g", "ViT-g/14", 1536, 40, 24, (1_136_480_768, 1_136_486_912, 7_681_000)),
    ]
}


TWINS = {"sample_outliers": "sample"}
"""A model with planted outliers, and the healthy one that computes the same in float32."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset that vitquant can lay out under data/ as ImageFolder, in splits."""

    name: str
    title: str
    pictures: int  # in the evaluated split
    classes: int
    how_to_get: str  # one line for an empty state
    root: str | None = None  # of one's own: the folder that its pictures lie in
    labelled: bool = True  # whether it says what the pictures show; else fp32's answer stands for it
    removed_at: str | None = None  # of one's own that was removed: what was measured stays

    @property
    def is_own(self) -> bool:
        """Whether a person has added it."""
        return self.root is not None


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in [
        DatasetSpec(
            name="sample",
            title="Sample: rendered pictures",
            pictures=1_475,
            classes=59,
            how_to_get="git restore data/sample",
        ),
        DatasetSpec(
            name="tiny-imagenet",
            title="Tiny-ImageNet, validation",
            pictures=10_000,
            classes=200,
            how_to_get=".venv/bin/python -m vitquant fetch tiny-imagenet",
        ),
    ]
}


def models(*, removed: bool = False, backbones: bool = False) -> dict[str, ModelSpec]:
    """Every model there is by its name: vitquant's, then those that were added; with removed, also those that
    were added and removed, and with backbones, those that have no head."""
    own = _from_entries(ModelSpec, registry.MODELS)
    return MODELS | {
        name: spec
        for name, spec in own.items()
        if (removed or not spec.removed_at) and (backbones or spec.has_head)
    }


def datasets(*, removed: bool = False) -> dict[str, DatasetSpec]:
    """Every dataset there is by its name: vitquant's, then those that were added; with removed, also those that
    were added and removed."""
    own = _from_entries(DatasetSpec, registry.DATASETS)
    return DATASETS | {name: spec for name, spec in own.items() if removed or not spec.removed_at}


def model(name: str) -> ModelSpec:
    """The model of that name, a removed one too; InputError, with the nearest names, where there is none."""
    return _look_up(models(removed=True, backbones=True), name, "model", "python -m vitquant models")


def dataset(name: str) -> DatasetSpec:
    """The dataset of that name, a removed one too; InputError, with the nearest names, where there is none."""
    return _look_up(datasets(removed=True), name, "dataset", "python -m vitquant datasets")


def check_new_name(kind: str, name: str) -> str:
    """The name, if a new model or dataset can have it; else InputError. kind: registry.MODELS or DATASETS."""
    if name.lower() in (other.lower() for other in (*MODELS, *DATASETS)):
        raise InputError(f"{name} is one of vitquant's own names: take another one.")
    return registry.check_name(kind, name)


def _from_entries(spec: Callable[..., T], kind: str) -> dict[str, T]:
    """The specs of what was added: each entry's "spec" has the fields but the name. One that somebody has
    damaged is passed over."""
    found = {}
    for name, entry in registry.entries(kind).items():
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["spec"].items()}
            found[name] = spec(name=name, removed_at=entry.get(registry.REMOVED_AT), **values)
    return found


def unknown(kind: str, name: str, known: Iterable[str], listing: str) -> InputError:
    """The error for a name that nothing has: says what is near, and where the names are listed."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = f"there are {', '.join(known)}." if known else "there is none."
    hint = f"did you mean {' or '.join(near)}?" if near else listed
    return InputError(f"There is no {kind} called {name!r}: {hint} ({listing} lists them.)")


def _look_up(table: dict[str, T], name: str, kind: str, listing: str) -> T:
    if name not in table:
        raise unknown(kind, name, table, listing)
    return table[name]


def image_size(asked: int | None, of: str) -> int:
    """The size in pixels that is asked for, checked as check_image_size does, or else the model's usual one."""
    return model(of).usual_image_size if asked is None else check_image_size(asked, of)


def check_image_size(size: int, of: str) -> int:
    """size in pixels, if the model of that name takes it; else InputError naming the two nearest that do."""
    patch = model(of).patch_size
    if size > MAX_IMAGE_SIZE:
        raise InputError(f"Image size {size} is too large: take one of up to {MAX_IMAGE_SIZE} pixels.")
    if size >= patch and size % patch == 0:
        return size
    below = max(size // patch, 1) * patch
    raise InputError(
        f"Image size {size} does not fit the {patch}-pixel patches of {of}: take {below} or {below + patch}."
    )
