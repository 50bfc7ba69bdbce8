"""The variants beside ONNX Runtime and OpenVINO: one model, one process, the same threads, taking turns.

    python -m benchmarks.peers --model dinov2_vitb14_reg_lc --shapes 8x70,1x224

Needs requirements-peers.txt; a runtime that is not installed is left out. Prints, for each shape, medians and
quartiles, how many times as fast as torch's fp32 and qint8 each one is, with a 95% bootstrap interval, and how
often its first answer is fp32's, so that what is fast and wrong is seen; then what its time is made of.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks import operations, runtimes
from benchmarks import peer_results as results
from vitquant import catalog, database, datasets, fits, latency, machine, models, predict, variants
from vitquant import weights as weight_sources
from vitquant.errors import InputError, VitquantError
from vitquant.images import open_rgb
from vitquant.latency import Shape
from vitquant.vit import Classifier
from vitquant.weights import Weights

VARIANTS = "fp32,qint8,qint8_channel,qint8_smooth,qint8_best,qint8_mixed,float16,bfloat16"
TRACED = ("fp32", "qint8")
"""The variants that are also measured without the Python between their layers."""

PACKAGES = ("torch", "onnxruntime", "openvino", "nncf")


def our_variants(
    original: Classifier, source: Weights, names: Sequence[str], size: int
) -> dict[str, nn.Module]:
    """Those of the variants that can be had of this model here, the calibrated ones calibrated on the sample's
    training pictures at that size. Says of the others why not."""
    found = {}
    with database.opened() as db:
        for name in names:
            try:
                cures = fits.cures(db, source, (name,), "sample", size)
                found[name] = variants.build(original, name, machine.engine(), cures.get(name))
            except InputError as error:
                note(f"{name} is left out: {error}")
    return found


def contenders(
    ours: Mapping[str, nn.Module],
    original: Classifier,
    size: int,
    threads: int,
    folder: Path,
    calibration: int,
) -> Iterator[tuple[str, nn.Module]]:
    """Every way to run the model that can be had here, by name, for pictures of one size.

    ours: the variants by name; original: the model in float32; folder: for the runtimes' files; calibration:
    how many of the sample's training pictures OpenVINO's int8 is calibrated on.
    """
    yield from ours.items()
    for name in TRACED:
        if name in ours:
            yield f"{name}, traced and frozen", frozen(ours[name])
    if is_there("ONNX Runtime"):
        for name, int8 in (("float32", False), ("int8 (dynamic)", True)):
            file = runtimes.onnx_file(original, folder, size, int8=int8)
            yield f"ONNX Runtime {name}", runtimes.OnnxRuntime(file, threads)
    if is_there("OpenVINO"):
        whole = runtimes.openvino_model(runtimes.onnx_file(original, folder, size, int8=False))
        given = {"": whole}
        if is_there("OpenVINO int8"):
            given["int8 (NNCF), rest "] = runtimes.nncf_quantized(whole, pictures("train", size, calibration))
        for name, model in given.items():
            for precision in ("f32", "bf16") if runtimes.cpu_has_bf16() else ("f32",):
                compiled = runtimes.OpenVino(model, threads, precision)
                yield f"OpenVINO {name}{compiled.precision_used((1, 3, size, size))}", compiled


def frozen(model: nn.Module) -> nn.Module:
    """The model as TorchScript with its weights as constants, for each shape anew."""

    def make(shape: tuple[int, ...]) -> nn.Module:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*torch\.jit\.\w+` is deprecated", FutureWarning)
            return torch.jit.freeze(predict.traced(model, shape[-1], batch=shape[0]))

    return runtimes.PerShape(make)


def is_there(runtime: str) -> bool:
    reason = runtimes.why_left_out(runtime)
    if reason:
        note(reason)
    return reason is None


def pictures(split: str, size: int, count: int) -> torch.Tensor:
    """The first pictures of a split of the sample, in the order of an evaluation, as a model takes them."""
    dataset = datasets.open_dataset("sample", split)
    chosen = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:count]]
    return predict.to_input([open_rgb(dataset.file(example)) for example in chosen], size)


def measure(
    ours: Mapping[str, nn.Module], original: Classifier, shape: Shape, given: argparse.Namespace
) -> list[results.Row]:
    """Everything about one shape."""
    with tempfile.TemporaryDirectory() as folder, latency.intra_op_threads(given.threads):
        note(f"{shape}: converting")
        there = dict(contenders(ours, original, shape.size, given.threads, Path(folder), given.calibration))
        note(f"{shape}: comparing answers")
        inputs = pictures("val", shape.size, given.pictures)
        answers = {name: first_answers(model, inputs) for name, model in there.items()}
        with tqdm(total=latency.PROGRESS_STEPS, desc=f"{shape}: timing", file=sys.stderr) as bar:

            def show(done: int, total: int, message: str) -> None:
                bar.set_postfix_str(message, refresh=False)
                bar.update(done - bar.n)

            begun = results.cpu_seconds()
            timings = list(
                latency.measure(
                    there,
                    [shape],
                    given.threads,
                    seconds_per_shape=given.seconds * len(there),
                    on_progress=show,
                )
            )
            busy_elsewhere = results.others_share(begun, results.cpu_seconds())
        note(f"{shape}: profiling")
        made_of = {name: seconds_by_class(model, shape, given.threads) for name, model in there.items()}
        return results.rows(timings, answers, first_answers(original, inputs), made_of, busy_elsewhere)


def first_answers(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """The most probable class of each picture, each by itself: (N,)."""
    return predict.logits_of(model, inputs, one_by_one=True).argmax(axis=1)


def seconds_by_class(model: nn.Module, shape: Shape, threads: int) -> dict[str, float] | None:
    """What a call is made of, by operations.CLASSES; None for a model in which nothing tells them apart."""
    if isinstance(model, runtimes.OnnxRuntime | runtimes.OpenVino):
        return operations.by_class(model.steps(latency.random_pictures(shape)))
    if isinstance(model, runtimes.PerShape):
        return None
    return operations.of_torch(model, shape, threads)


def note(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dinov2_vitb14_reg_lc")
    parser.add_argument("--weights", help="the samples' own or random ones, unless told otherwise")
    parser.add_argument("--shapes", default="8x70,1x224")
    parser.add_argument("--variants", default=VARIANTS)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each contender on each shape")
    parser.add_argument("--threads", type=int, default=machine.default_threads())
    parser.add_argument("--pictures", type=int, default=64, help="on which answers are compared")
    parser.add_argument("--calibration", type=int, default=64, help="pictures, for OpenVINO's int8")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        run(given)
    except VitquantError as error:
        sys.exit(str(error))


def run(given: argparse.Namespace) -> None:
    shapes = latency.parse_shapes(given.shapes, given.model)
    bundled = catalog.model(given.model).home == "bundled"
    source = weight_sources.resolve(given.model, given.weights or (None if bundled else "random"))
    original = models.load(source)
    first_size = shapes[0].size
    note(f"building {given.variants}")
    ours = our_variants(original, source, given.variants.split(","), first_size)
    about = {
        "model": source.model,
        "weights": source.source,
        "threads": given.threads,
        "calibrated_at_pixels": first_size,
        **machine.environment(),
        **{name: machine.version_of(name) for name in PACKAGES},
    }
    if not given.json:
        versions = ", ".join(f"{name} {about[name] or 'not installed'}" for name in PACKAGES)
        print(f"{about['machine']}: {', '.join(machine.cpu_features())}; engine {about['engine']}")
        print(f"{versions}; {given.threads} threads; {source.model}, {source.source} weights")
        print(f"answers on the sample's pictures; calibrated variants at {first_size} x {first_size}")
    found: list[results.Row] = []
    for shape in shapes:
        of_shape = measure(ours, original, shape, given)
        found += of_shape
        if not given.json:
            busy = of_shape[0].busy_elsewhere
            print(f"\n{shape}; other processes took {busy:.0%} of the machine meanwhile")
            print(
                f"{results.time_table(of_shape)}\n\n{results.class_table(of_shape)}\n{results.FUSED}",
                flush=True,
            )
    if given.json:
        print(json.dumps({"about": about, "rows": [asdict(row) for row in found]}, indent=1))


if __name__ == "__main__":
    main()
