"""The notebook's walk through single pictures: what each variant answers, in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitquant import catalog, datasets, images, labels
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.labels import ClassLabel
from vitquant.weights import Weights


@dataclass(frozen=True)
class Picture:
    """One picture to be looked at, with its class where that is known."""

    name: str
    file: Path
    true_class: ClassLabel | None


def pictures_asked_for(files: Sequence[Path], dataset: str | None, index: int | None) -> list[Picture]:
    """The pictures named: files, or one of a dataset's by its place in ImageFolder's order.

    Raises InputError where neither or both are given, or the dataset has no such picture.
    """
    if files and dataset is None and index is None:
        return [Picture(str(file), file, None) for file in files]
    if files or dataset is None or index is None:
        raise InputError("Name either one or more picture files, or --dataset with --index.")
    opened = datasets.open_dataset(dataset)
    if not 0 <= index < len(opened.examples):
        raise InputError(
            f"{dataset} has {len(opened.examples):,} pictures, 0 to {len(opened.examples) - 1}: "
            f"there is no picture {index}."
        )
    example = opened.examples[index]
    name = f"{dataset}[{index}] {example.path}"
    true_class = labels.by_wnid(example.wnid) if example.wnid else None
    return [Picture(name, opened.file(example), true_class)]


def answers(
    pictures: Sequence[Picture],
    weights: Weights,
    variants: Sequence[str],
    engine: str,
    cures: Mapping[str, Cure] | None = None,
    *,
    image_size: int,
    top: int = 5,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Each variant's top classes for each picture, in the order given: plain data, ready for JSON.

    Every picture is answered by itself, so no answer depends on its neighbours. Raises InputError for a
    picture that cannot be read, before any model is loaded.
    """
    catalog.check_image_size(image_size, weights.model)
    if not 1 <= top <= len(labels.CLASSES):
        raise InputError(f"--top {top} cannot be: there are {len(labels.CLASSES)} classes, so take 1 or more.")
    for picture in pictures:
        images.open_rgb(picture.file)  # a second of decoding now, rather than an error after minutes of answers
    from vitquant import predict  # seconds to import, and what is wrong with the request is known by now

    models = predict.load_variants(weights, variants, engine, cures)
    answered: list[dict[str, Any]] = []
    for picture in pictures:
        inputs = predict.to_input([images.open_rgb(picture.file)], image_size)
        answered += _answers_to(picture, inputs, models, top)
        if on_progress:
            on_progress(len(answered), len(pictures) * len(models))
    return answered


def _answers_to(picture: Picture, inputs: Any, models: Any, top: int) -> Iterator[dict[str, Any]]:
    from vitquant import predict

    for name, model in models.items():
        indices, probabilities = predict.top_k(predict.logits_of(model, inputs), top)
        answer: dict[str, Any] = {"image": picture.name, "variant": name}
        if picture.true_class:
            answer["true_class"] = _class(picture.true_class)
        answer["predictions"] = [
            {"rank": rank, **_class(labels.by_index(int(index))), "probability": float(probability)}
            for rank, (index, probability) in enumerate(zip(indices[0], probabilities[0], strict=True), start=1)
        ]
        yield answer


def _class(label: ClassLabel) -> dict[str, Any]:
    return {"index": label.index, "wnid": label.wnid, "words": label.words}
