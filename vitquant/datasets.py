"""Datasets: folders of pictures in ImageFolder's layout, named by wnid, under data/, and somebody's own, which
are listed picture by picture (own_pictures_listing). Imports no torch.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitquant import catalog, labels, own_pictures_listing, paths, sample, tiny_imagenet
from vitquant.catalog import DatasetSpec
from vitquant.digests import sha256_of
from vitquant.errors import InputError
from vitquant.images import is_picture
from vitquant.tiny_imagenet import Prepared


@dataclass(frozen=True)
class Example:
    """One picture with its true class, where that is known."""

    index: int  # place in ImageFolder's order
    path: str  # relative to the dataset's root, with "/" everywhere: "n01443537/val_68.JPEG"
    wnid: str  # "" where the picture has no label
    class_index: int  # of ImageNet-1k, 0..999; own_pictures_listing.UNLABELLED where it has no label


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset: its pictures in ImageFolder's order."""

    name: str
    split: str
    root: Path
    examples: tuple[Example, ...]

    def file(self, example: Example) -> Path:
        """Where the picture lies."""
        return self.root / example.path


def folder(name: str) -> Path:
    """Where the splits of a dataset lie, or will lie. Raises InputError for a name that is not a dataset's."""
    spec = catalog.dataset(name)
    if spec.root is not None:
        return Path(spec.root)
    return paths.sample_dir() if name == "sample" else paths.data_dir() / spec.name


def root_of(name: str, split: str = "val") -> Path:
    """The folder that the paths of a split's examples start from."""
    return folder(name) if catalog.dataset(name).is_own else folder(name) / split


def is_here(name: str) -> bool:
    """Whether the dataset has been prepared or, somebody's own, has been added and its folder is there."""
    return _has(name, "val")


def has_training(name: str) -> bool:
    """Whether the dataset is here with training pictures."""
    return _has(name, "train")


def _has(name: str, split: str) -> bool:
    spec = catalog.dataset(name)
    if not spec.is_own:
        return root_of(name, split).is_dir()
    return not spec.removed_at and split in own_pictures_listing.splits_of(name) and folder(name).is_dir()


def usual(model: str) -> str:
    """The pictures that a model was made for, or else the ones that are here."""
    first, other = "tiny-imagenet", "sample"
    if catalog.model(model).home == "bundled":
        first, other = other, first
    return other if is_here(other) and not is_here(first) else first


def prepare_tiny_imagenet(archive: Path, progress: Callable[[int, int], None] | None = None) -> Prepared:
    """Check Tiny-ImageNet's archive and lay it out as ImageFolder: see tiny_imagenet.prepare."""
    return tiny_imagenet.prepare(archive, folder("tiny-imagenet"), progress)


def open_dataset(name: str, split: str = "val") -> Dataset:
    """A dataset's pictures, in torchvision ImageFolder's order.

    Raises InputError where the dataset or the split is not here (naming the command that brings it), where
    a folder's name is not the wnid of an ImageNet class, and where a picture of the sample or of an own
    dataset is missing.
    """
    spec = catalog.dataset(name)
    if spec.is_own:
        return _open_own(spec, split)
    root = root_of(name, split)
    if not root.is_dir():
        how = spec.how_to_get
        if is_here(name):
            there = sorted(entry.name for entry in folder(name).iterdir() if entry.is_dir())
            raise InputError(f"{name} has no split {split!r} here, only {' and '.join(there)}.")
        raise InputError(f"{name} is not here yet ({root} is missing): {how} lays it out.")
    with os.scandir(root) as entries:
        wnids = sorted(entry.name for entry in entries if entry.is_dir())
    examples: list[Example] = []
    for wnid in wnids:
        try:
            class_index = labels.by_wnid(wnid).index
        except InputError as error:
            raise InputError(
                f"{root / wnid} is not named for an ImageNet class, as the folders of a dataset must be: "
                "move it elsewhere."
            ) from error
        for path in _pictures(root, wnid):
            examples.append(Example(len(examples), path, wnid, class_index))
    if not examples:
        raise InputError(f"{root} has no pictures: remove it, then run {spec.how_to_get}")
    if name == "sample":
        sample.check_names(split, [root / example.path for example in examples])
    return Dataset(name, split, root, tuple(examples))


def _open_own(spec: DatasetSpec, split: str) -> Dataset:
    name, root = spec.name, folder(spec.name)
    if spec.removed_at:
        raise InputError(f"{name} was removed: {spec.how_to_get} adds it again.")
    there = own_pictures_listing.splits_of(name)
    if split not in there:
        raise InputError(f"{name} has no split {split!r}, only {' and '.join(there) or 'its name'}.")
    if not root.is_dir():
        raise InputError(
            f"The folder of {name}, {root}, is not there any more: put it back, or remove {name} and add it "
            "from where it is now."
        )
    listed = own_pictures_listing.read(name, split)
    files = {folder: _names_in(root / folder) for folder in own_pictures_listing.folders(name, split)}
    examples = []
    for index, picture in enumerate(listed):
        place, _, filename = picture.path.rpartition("/")
        if filename not in files[place]:
            raise InputError(
                f"{root / picture.path} is not there any more: put it back, or remove {name} and add it again, "
                "so that the folder is looked through anew."
            )
        known = picture.class_index != own_pictures_listing.UNLABELLED
        wnid = labels.by_index(picture.class_index).wnid if known else ""
        examples.append(Example(index, picture.path, wnid, picture.class_index))
    return Dataset(name, split, root, tuple(examples))


def _names_in(place: Path) -> set[str]:
    """What lies in a folder; nothing where that is gone."""
    try:
        return set(os.listdir(place))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError(f"{place} cannot be read ({error.strerror}): check its permissions.") from error


def _pictures(root: Path, wnid: str) -> list[str]:
    """The pictures below one class's folder in ImageFolder's order: folder by folder, each sorted."""
    found = []
    for directory, _, filenames in sorted(os.walk(root / wnid, followlinks=True)):
        prefix = Path(directory).relative_to(root).as_posix()
        found += [f"{prefix}/{filename}" for filename in sorted(filenames) if is_picture(filename)]
    return found


def fingerprint(name: str, split: str = "val") -> tuple[tuple[str, int], ...]:
    """Changes when a picture is added, removed or renamed, or an own dataset is listed anew; read from the
    folders alone, in milliseconds."""
    if catalog.dataset(name).is_own:
        listing = own_pictures_listing.file_of(name, split)
        places = [folder(name) / place for place in own_pictures_listing.folders(name, split)]
        return tuple((str(place), _changed_ns(place)) for place in [listing, *places])
    with os.scandir(root_of(name, split)) as entries:
        return tuple(sorted((e.name, e.stat().st_mtime_ns) for e in entries if e.is_dir()))


def _changed_ns(place: Path) -> int:
    """When a file or a folder was changed, in ns since 1970; -1 where it is gone."""
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return -1


def evaluation_order(dataset: Dataset, seed: int = 0) -> list[int]:
    """A fixed random order of the examples' indices, in which every prefix is a fair sample of the classes.

    It goes in rounds: each round takes one picture of every class that has any left. So in any prefix two
    classes differ by one picture at most, as long as both have some left. A picture's place depends on
    nothing but the seed and the paths (no random generator whose sequence a new version might change).
    """
    hashes = {
        example.index: hashlib.sha256(f"{seed}:{example.path}".encode()).digest()
        for example in dataset.examples
    }
    classes: dict[str, list[int]] = defaultdict(list)
    for example in dataset.examples:
        classes[example.wnid].append(example.index)
    rounds = {}
    for indices in classes.values():
        for number, index in enumerate(sorted(indices, key=hashes.__getitem__)):
            rounds[index] = number
    return sorted(hashes, key=lambda index: (rounds[index], hashes[index]))


def file_digests(files: list[Path]) -> list[str]:
    """SHA-256 of each file's content, in the order given."""
    return [sha256_of(file) for file in files]


def digest(dataset: Dataset, digest_files: Callable[[list[Path]], list[str]] = file_digests) -> str:
    """One digest of all paths, classes and contents: changes when a picture is added, removed, renamed or
    altered, or gets another class.

    digest_files: gives the SHA-256 of each file, perhaps from a cache. Raises InputError where a picture of
    the sample is not as it was shipped.
    """
    files = [dataset.file(example) for example in dataset.examples]
    contents = digest_files(files)
    if dataset.name == "sample":
        sample.check(dict(zip(files, contents, strict=True)))
    total = hashlib.sha256()
    for example, content in zip(dataset.examples, contents, strict=True):
        # Where the path does not say the class, the class counts too.
        is_said = example.wnid and example.path.startswith(f"{example.wnid}/")
        known = [example.path, content] if is_said else [example.path, content, str(example.class_index)]
        total.update(("\0".join(known) + "\n").encode())
    return total.hexdigest()
