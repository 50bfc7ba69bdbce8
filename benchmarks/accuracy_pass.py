"""Pictures per second of the accuracy pass, against the notebook's loop and against a plain DataLoader loop.

    python -m benchmarks.accuracy_pass [--model dinov2_vits14_reg_lc] [--pictures 192] [--rounds 3]

Three ways to get the same top-5 counts, in turn, round by round, on the same pictures with the same models:
- notebook: one picture at a time, one variant after the other, decoding for each;
- DataLoader: batches of 32 from two loader processes, one variant after the other (its qint8 answers depend
  on the batch, so it is faster at something else);
- vitquant: accuracy.measure, with everything committed to a store.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from vitquant import accuracy, database, datasets, machine, weights
from vitquant.predict import IMAGENET_MEAN, IMAGENET_STD, load_variants, traced
from vitquant.variants import recipe

SIZE = 70
VARIANTS = ("fp32", "qint8", "float16")


def notebook_transform() -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            transforms.Resize((SIZE, SIZE)),
        ]
    )


@torch.no_grad()
def notebook(models: Mapping[str, nn.Module], folder: ImageFolder, pictures: list[int]) -> None:
    transform = notebook_transform()
    for model in models.values():
        for picture in pictures:
            image, _ = folder[picture]
            torch.topk(model(transform(image)[None, ...]), 5, dim=1)


@torch.no_grad()
def data_loader(models: Mapping[str, nn.Module], folder: ImageFolder, pictures: list[int]) -> None:
    subset = torch.utils.data.Subset(folder, pictures)
    for model in models.values():
        for inputs, _ in torch.utils.data.DataLoader(subset, batch_size=32, num_workers=2):
            torch.topk(model(inputs), 5, dim=1)


def ours(models: Mapping[str, nn.Module], pictures: list[int], source: weights.Weights) -> float:
    """Seconds it takes. Finding out what to measure (digests of 10,000 files) is done once for a store,
    and is left out."""
    with tempfile.TemporaryDirectory() as folder, database.opened(Path(folder) / "store.sqlite") as db:
        plan = accuracy.plan(
            db,
            model=source.model,
            weights_source=source.source,
            dataset_name="tiny-imagenet",
            variants=list(models),
            image_size=SIZE,
        )
        # As load_for_pass gives them; no way has to load its models while it is timed.
        for_pass = {n: traced(m, SIZE) if recipe(n).batch_dependent else m for n, m in models.items()}
        wanted = accuracy.missing(db, plan, len(pictures))
        return timed(lambda: accuracy.measure(db, plan, wanted, load=lambda names: for_pass))


def timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="dinov2_vits14_reg_lc")
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    source = weights.resolve(options.model, "random")
    all_models = load_variants(source, VARIANTS, machine.engine())
    order = datasets.evaluation_order(datasets.open_dataset("tiny-imagenet"))
    pictures = order[: options.pictures]
    # Looking through the folders is left out of every way's time.
    root = str(datasets.root_of("tiny-imagenet"))
    plain, transformed = ImageFolder(root), ImageFolder(root, transform=notebook_transform())
    print(f"{machine.machine_name()}: {', '.join(machine.cpu_features())}; engine {machine.engine()},")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {options.model}, random weights,")
    print(f"{options.pictures} pictures of Tiny-ImageNet at {SIZE} x {SIZE}, {options.rounds} rounds\n")
    for names in (("fp32",), VARIANTS):
        models = {name: all_models[name] for name in names}
        seconds: dict[str, list[float]] = {"notebook": [], "DataLoader": [], "vitquant": []}
        for _ in range(options.rounds):
            seconds["notebook"].append(timed(lambda: notebook(models, plain, pictures)))  # noqa: B023
            seconds["DataLoader"].append(timed(lambda: data_loader(models, transformed, pictures)))  # noqa: B023
            seconds["vitquant"].append(ours(models, pictures, source))
        print(", ".join(names))
        for way, times in seconds.items():
            rate = statistics.median(options.pictures / s for s in times)
            ratio = statistics.median(s / o for s, o in zip(times, seconds["vitquant"], strict=True))
            print(f"  {way:10}  {rate:6.1f} pictures/s   vitquant is {ratio:.2f}x as fast")


if __name__ == "__main__":
    main()
