"""The kinds of files that a variant can leave as, and which variant can leave as which. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from vitquant import catalog, machine
from vitquant.errors import InputError

CODE = Path(__file__).parent
"""Where the code that goes along with an export lies."""
ONNX_REQUIREMENTS = "requirements-onnx.txt"


@dataclass(frozen=True)
class Format:
    """One kind of file that a variant can leave as."""

    name: str
    title: str
    summary: str  # one or two sentences
    weights_file: str
    code: Mapping[str, str]  # file in the export -> where it lies in vitquant/
    needs: tuple[str, ...]  # packages that loading it takes
    runtime: str  # the package whose version decides its answers
    converts: bool = False  # whether its answers are a conversion's own instead of the variant's

    @property
    def variants(self) -> tuple[str, ...] | None:
        """The variants it can be made of; None: of any."""
        return ("fp32",) if self.runtime == "onnxruntime" else None

    @property
    def loader(self) -> str:
        """The source of its load.py."""
        return (CODE / self.code["load.py"]).read_text(encoding="utf-8")


_PREDICT = {"predict.py": "takeaway/predict.py"}
_TORCH = _PREDICT | {"transform.py": "takeaway/transform_torch.py", "full_range.py": "full_range.py"}
_ONNX = _PREDICT | {"transform.py": "takeaway/transform_numpy.py", "load.py": "takeaway/load_onnx.py"}

FORMATS: dict[str, Format] = {
    found.name: found
    for found in [
        Format(
            "program",
            "Program (TorchScript)",
            "torch loads and runs it by itself, for pictures of this one size.",
            "model.pt",
            _TORCH | {"load.py": "takeaway/load_program.py"},
            ("torch", "numpy", "pillow"),
            "torch",
        ),
        Format(
            "state-dict",
            "State dict with a loader",
            "The numbers alone, under the checkpoint's own names, with a short loader that builds the model "
            "from torch and timm: for pictures of any size, and for those who want to change the model.",
            "weights.pt",
            _TORCH | {"load.py": "takeaway/load_state_dict.py", "model.py": "vit.py"},
            ("torch", "timm", "numpy", "pillow"),
            "torch",
        ),
        Format(
            "onnx",
            "ONNX, float32",
            "The float32 model for ONNX Runtime and whatever else reads ONNX; no torch needed.",
            "model.onnx",
            _ONNX,
            ("onnxruntime", "numpy", "pillow"),
            "onnxruntime",
        ),
        Format(
            "onnx-int8",
            "ONNX, int8",
            "Another conversion: ONNX Runtime quantizes the float32 model itself (dynamic, per-channel "
            "weights, 7-bit range). It is not torch's qint8, so it has an accuracy of its own.",
            "model.onnx",
            _ONNX,
            ("onnxruntime", "numpy", "pillow"),
            "onnxruntime",
            converts=True,
        ),
    ]
}


def format_of(name: str) -> Format:
    """The format of that name; InputError, with the nearest names, where there is none."""
    if name not in FORMATS:
        raise catalog.unknown("format", name, FORMATS, "python -m vitquant export --help")
    return FORMATS[name]


def why_not(format_name: str, variant: str) -> str | None:
    """Why a variant cannot leave in a format here, as a sentence; None where it can."""
    wanted = format_of(format_name)
    if wanted.variants is not None and variant not in wanted.variants:
        return (
            f"{wanted.title} is made of {' or '.join(wanted.variants)}, not of {variant}: ONNX cannot hold "
            f"torch's quantized layers. Take the variant {wanted.variants[0]}, or the format program or "
            "state-dict."
        )
    if wanted.runtime == "onnxruntime":
        lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if util.find_spec(name) is None]
        if lacking:
            return (
                f"{wanted.title} needs {' and '.join(lacking)}, which are optional and not installed here: "
                f"python -m pip install -r {ONNX_REQUIREMENTS}"
            )
    return None


def check(format_name: str, variant: str) -> None:
    """Raise InputError with why_not's sentence where there is one."""
    if problem := why_not(format_name, variant):
        raise InputError(problem)


def runtime_version(format_name: str) -> str:
    """The installed version of the package that runs the format."""
    return machine.version_of(format_of(format_name).runtime)
