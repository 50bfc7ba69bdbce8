"""Preparing Tiny-ImageNet: the real archive, broken archives, and interruptions at any point."""

import errno
import io
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vitquant import archive as archives
from vitquant import labels, tiny_imagenet
from vitquant.datasets import open_dataset, prepare_tiny_imagenet
from vitquant.errors import InputError
from vitquant.images import open_rgb
from vitquant.tiny_imagenet import Prepared, prepare

PROJECT = Path(__file__).parent.parent
ROOT = "tiny-imagenet-200"
WNIDS = ("n01443537", "n01629819", "n02124075")
CONTENTS = dict[str, bytes]
Change = Callable[[CONTENTS], object]


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 7 % 256, number * 31 % 256, 99)).save(buffer, "JPEG")
    return buffer.getvalue()


def contents(validation: int = 12, training: int = 2) -> CONTENTS:
    """A small archive in the official layout, by entry name."""
    files = {
        f"{ROOT}/wnids.txt": "".join(f"{wnid}\n" for wnid in WNIDS).encode(),
        f"{ROOT}/words.txt": b"n01443537\tgoldfish, Carassius auratus\n",
    }
    for wnid in WNIDS:
        files[f"{ROOT}/train/{wnid}/{wnid}_boxes.txt"] = b"boxes of pictures that may not be here\n"
        for number in range(training):
            files[f"{ROOT}/train/{wnid}/images/{wnid}_{number}.JPEG"] = picture(100 + number)
    annotations = [f"val_{n}.JPEG\t{WNIDS[n % 3]}\t0\t32\t44\t62\n" for n in range(validation)]
    files[f"{ROOT}/val/val_annotations.txt"] = "".join(annotations).encode()
    for number in range(validation):
        files[f"{ROOT}/val/images/val_{number}.JPEG"] = picture(number)
    files[f"{ROOT}/test/images/test_0.JPEG"] = b"a test picture that is not even looked at"
    return files


def pack(path: Path, files: CONTENTS, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for folder in ("", "val/", "val/images/", "test/"):  # the official archive lists its folders
            archive.writestr(f"{ROOT}/{folder}", b"")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "archive.zip", contents())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the dated record, with its content."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "prepared.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def nothing_is_left(data: Path) -> bool:
    return {entry.name for entry in data.iterdir()} <= {".tiny-imagenet.lock"}


def refused(archive: Path) -> str:
    with pytest.raises(InputError) as caught:
        prepare_tiny_imagenet(archive)
    return str(caught.value)


def test_the_real_archive_becomes_an_imagefolder(
    tiny_imagenet: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_DATA", str(tiny_imagenet))
    with zipfile.ZipFile(shared / "tiny-imagenet-200-val.zip") as archive:
        lines = archive.read(f"{ROOT}/val/val_annotations.txt").decode().splitlines()
        validation = open_dataset("tiny-imagenet", "val")
        expected = {f"{line.split()[1]}/{line.split()[0]}" for line in lines}
        assert {example.path for example in validation.examples} == expected
        for example in validation.examples[::100]:
            name = f"{ROOT}/val/images/{Path(example.path).name}"
            assert validation.file(example).read_bytes() == archive.read(name)
    assert set(Counter(example.wnid for example in validation.examples).values()) == {50}
    training = open_dataset("tiny-imagenet", "train")
    assert set(Counter(example.wnid for example in training.examples).values()) == {20}
    assert all(Path(example.path).name.startswith(example.wnid) for example in training.examples)
    assert {example.wnid for example in training.examples} == {label.wnid for label in labels.tiny_imagenet()}
    assert open_rgb(validation.file(validation.examples[999])).size == (64, 64)


def test_what_was_prepared_is_reported(archive: Path, data_dir: Path) -> None:
    steps = []
    prepared = prepare_tiny_imagenet(archive, lambda done, total: steps.append((done, total)))
    assert prepared == Prepared(
        root=data_dir / "tiny-imagenet",
        validation=12,
        training=6,
        classes=3,
        archive_sha256=prepared.archive_sha256,
        already_there=False,
    )
    assert steps == [(done, 18) for done in range(19)]
    assert set(tree(prepared.root)) == {
        *(f"val/{WNIDS[n % 3]}/val_{n}.JPEG" for n in range(12)),
        *(f"train/{wnid}/{wnid}_{n}.JPEG" for wnid in WNIDS for n in range(2)),
    }
    record = json.loads((prepared.root / "prepared.json").read_text())
    assert (record["archive"], record["validation"], record["training"]) == ("archive.zip", 12, 6)
    assert len(prepared.archive_sha256) == 64


def test_an_archive_without_training_pictures_has_a_validation_split(tmp_path: Path, data_dir: Path) -> None:
    prepared = prepare_tiny_imagenet(pack(tmp_path / "archive.zip", contents(training=0)))
    assert (prepared.validation, prepared.training) == (12, 0)
    assert not (prepared.root / "train").exists()


def test_twice_is_once(archive: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare_tiny_imagenet(archive)
    before = {file: file.stat().st_mtime_ns for file in first.root.rglob("*")}

    def read_again(*_: object) -> None:
        raise AssertionError("the archive was read again")

    with monkeypatch.context() as patch:
        patch.setattr(tiny_imagenet, "opened", read_again)
        patch.setattr(tiny_imagenet, "sha256_of", read_again)
        second = prepare_tiny_imagenet(archive)
    assert second.already_there
    assert (second.validation, second.archive_sha256) == (first.validation, first.archive_sha256)
    assert {file: file.stat().st_mtime_ns for file in first.root.rglob("*")} == before
    # The same archive elsewhere, with another date, is still the same archive.
    copy = archive.with_name("copy.zip")
    copy.write_bytes(archive.read_bytes())
    os.utime(copy, (0, 0))
    assert prepare_tiny_imagenet(copy).already_there


def test_another_archive_does_not_replace_what_is_there(archive: Path, tmp_path: Path, data_dir: Path) -> None:
    prepared = prepare_tiny_imagenet(archive)
    before = tree(prepared.root)
    message = refused(pack(tmp_path / "other.zip", contents(validation=9)))
    assert "prepared from another archive (archive.zip" in message
    assert "`python -m vitquant remove tiny-imagenet` first" in message
    assert tree(prepared.root) == before
    shutil.rmtree(prepared.root)
    assert prepare_tiny_imagenet(tmp_path / "other.zip").validation == 9


def test_a_folder_of_the_same_name_that_someone_made_is_left_alone(archive: Path, data_dir: Path) -> None:
    mine = data_dir / "tiny-imagenet" / "val" / WNIDS[0]
    mine.mkdir(parents=True)
    (mine / "mine.jpg").write_bytes(picture(1))
    assert "was not prepared by this command" in refused(archive)
    assert (mine / "mine.jpg").exists()


@pytest.mark.parametrize("loss", [Path.unlink, lambda file: os.truncate(file, 0)], ids=["gone", "empty"])
def test_lost_pictures_come_back(loss: Callable[[Path], None], archive: Path, data_dir: Path) -> None:
    prepared = prepare_tiny_imagenet(archive)
    before = tree(prepared.root)
    loss(prepared.root / "val" / WNIDS[1] / "val_1.JPEG")
    steps = []
    again = prepare_tiny_imagenet(archive, lambda done, total: steps.append((done, total)))
    assert not again.already_there
    assert steps == [(17, 18), (18, 18)], "only the missing one is written"
    assert tree(prepared.root) == before


# Archives that are not what they should be.


def without(name: str) -> Change:
    return lambda files: files.pop(f"{ROOT}/{name}")


def put(name: str, content: bytes) -> Change:
    return lambda files: files.update({name: content})


def annotate(old: str, new: str) -> Change:
    name = f"{ROOT}/val/val_annotations.txt"
    return lambda files: files.update({name: files[name].replace(old.encode(), new.encode())})


CUT_PICTURE = picture(3)[:-200]
BROKEN = {
    "a path up": (put(f"{ROOT}/../evil.JPEG", b"x"), f"{ROOT}/../evil.JPEG", "own folder"),
    "an absolute path": (put("/etc/evil", b"x"), "/etc/evil", "own folder"),
    "a backslash": (put(f"{ROOT}/val\\..\\..\\..\\evil", b"x"), "evil", "own folder"),
    "a drive": (put(f"{ROOT}/C:/evil", b"x"), "C:/evil", "own folder"),
    "a second root": (
        put("evil/wnids.txt", b"x"),
        "evil/wnids.txt",
        f"outside the archive's own folder {ROOT}/",
    ),
    "the same name in capitals": (put(f"{ROOT}/WORDS.TXT", b"x"), f"{ROOT}/WORDS.TXT", "twice"),
    "no annotation": (
        annotate("val_5.JPEG\tn02124075\t0\t32\t44\t62\n", ""),
        f"{ROOT}/val/images/val_5.JPEG",
        "no annotation",
    ),
    "no picture": (without("val/images/val_7.JPEG"), f"{ROOT}/val/images/val_7.JPEG", "is missing"),
    "annotated twice": (annotate("val_5.JPEG", "val_4.JPEG"), "val_annotations.txt", "'val_4.JPEG' twice"),
    "an unlisted class": (annotate(WNIDS[1], "n03444034"), "val_annotations.txt", "'n03444034', not in wnids"),
    "a class that is not ImageNet's": (
        put(f"{ROOT}/wnids.txt", b"n01443537\nn99999999\n"),
        f"{ROOT}/wnids.txt",
        "'n99999999', which is not an ImageNet class",
    ),
    "an annotation without a class": (
        annotate("val_5.JPEG\tn02124075\t0\t32\t44\t62", "val_5.JPEG"),
        "val_annotations.txt",
        "no file and class in line 6",
    ),
    "no annotations": (without("val/val_annotations.txt"), f"{ROOT}/val/val_annotations.txt", "is missing"),
    "annotations that are no text": (
        put(f"{ROOT}/val/val_annotations.txt", b"\xff\xfe\x00"),
        f"{ROOT}/val/val_annotations.txt",
        "is not text",
    ),
    "an unlisted training class": (
        put(f"{ROOT}/train/n03444034/images/a.JPEG", picture(1)),
        f"{ROOT}/train/n03444034/images/a.JPEG",
        "'n03444034', not in wnids.txt",
    ),
    "a validation picture cut short": (
        put(f"{ROOT}/val/images/val_3.JPEG", CUT_PICTURE),
        f"{ROOT}/val/images/val_3.JPEG",
        "is damaged or cut short",
    ),
    "a training picture that is none": (
        put(f"{ROOT}/train/{WNIDS[2]}/images/{WNIDS[2]}_1.JPEG", b"text"),
        f"{ROOT}/train/{WNIDS[2]}/images/{WNIDS[2]}_1.JPEG",
        "is not a picture",
    ),
    "an empty picture": (
        put(f"{ROOT}/val/images/val_3.JPEG", b""),
        f"{ROOT}/val/images/val_3.JPEG",
        "is an empty file",
    ),
}


@pytest.mark.parametrize(("change", "entry", "wrong"), BROKEN.values(), ids=BROKEN)
def test_a_broken_archive_is_refused_by_entry_and_leaves_nothing(
    change: Change, entry: str, wrong: str, tmp_path: Path, data_dir: Path
) -> None:
    files = contents()
    change(files)
    message = refused(pack(tmp_path / "broken.zip", files))
    assert str(tmp_path / "broken.zip") in message
    assert entry in message
    assert wrong in message
    assert nothing_is_left(data_dir)
    assert not list(tmp_path.rglob("*evil*"))


def test_the_same_entry_twice_is_refused(archive: Path, data_dir: Path) -> None:
    name = f"{ROOT}/val/images/val_2.JPEG"
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(name, picture(77))
    assert f"{name!r} is there twice" in refused(archive)
    assert nothing_is_left(data_dir)


def test_a_symbolic_link_is_refused(archive: Path, data_dir: Path) -> None:
    link = zipfile.ZipInfo(f"{ROOT}/val/images/link.JPEG")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert "link.JPEG' is a symbolic link" in refused(archive)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_an_archive_cut_short_names_the_entry_where_it_ends(
    share: float, archive: Path, data_dir: Path
) -> None:
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
    end = int(len(whole) * share)
    # The header alone may be complete, so look for the last one that is.
    begun = [i for i in infos if i.header_offset + 30 + len(i.filename) <= end]
    archive.write_bytes(whole[:end])
    message = refused(archive)
    assert "was cut short" in message
    assert repr(begun[-1].filename) in message
    assert nothing_is_left(data_dir)


def test_the_real_archive_cut_short_is_refused(shared: Path, tmp_path: Path, data_dir: Path) -> None:
    cut = tmp_path / "cut.zip"
    with (shared / "tiny-imagenet-200-val.zip").open("rb") as file:
        cut.write_bytes(file.read(10_000_000))
    message = refused(cut)
    assert "was cut short" in message
    assert f"the entry '{ROOT}/" in message
    assert nothing_is_left(data_dir)


def test_a_flipped_bit_is_found_and_the_entry_named(tmp_path: Path, data_dir: Path) -> None:
    archive = pack(tmp_path / "archive.zip", contents(), compression=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    at = content.index(picture(5)) + 100
    content[at] ^= 1
    archive.write_bytes(content)
    message = refused(archive)
    assert "val_5.JPEG' is damaged" in message
    assert "CRC" in message
    assert nothing_is_left(data_dir)


def test_a_hole_in_the_middle_is_found(archive: Path, data_dir: Path) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:2000] + whole[3000:])
    assert str(archive) in refused(archive)
    assert nothing_is_left(data_dir)


def test_an_encrypted_entry_is_refused(archive: Path, data_dir: Path) -> None:
    content = bytearray(archive.read_bytes())
    name = f"{ROOT}/val/images/val_4.JPEG".encode()
    local = content.index(name) - 30
    central = content.rindex(name) - 46
    content[local + 6] |= 1
    content[central + 8] |= 1
    archive.write_bytes(content)
    message = refused(archive)
    assert "val_4.JPEG' is damaged or cut short" in message
    assert "encrypted" in message


def test_a_bomb_is_refused_before_it_goes_off(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pack(tmp_path / "one.zip", contents() | {f"{ROOT}/words.txt": bytes(archives.MAX_ENTRY_BYTES + 1)})
    assert one.stat().st_size < 10**6
    assert "words.txt' would take 67,108,865 bytes" in refused(one)

    monkeypatch.setattr(archives, "MAX_INFLATED_BYTES", 10**6)
    many = {f"{ROOT}/{number}.txt": bytes(10**5) for number in range(11)}
    assert "more than the 1,000,000 that are allowed" in refused(pack(tmp_path / "many.zip", contents() | many))
    assert nothing_is_left(data_dir)


def test_a_lying_size_does_not_get_around_the_bound(tmp_path: Path, data_dir: Path) -> None:
    name = f"{ROOT}/val/images/val_0.JPEG"
    archive = pack(tmp_path / "archive.zip", contents() | {name: bytes(5 * 10**7)})
    content = bytearray(archive.read_bytes())
    central = content.rindex(name.encode()) - 46
    content[central + 24 : central + 28] = struct.pack("<I", 1000)
    content[central + 16 : central + 20] = struct.pack("<I", zlib.crc32(bytes(1000)))
    archive.write_bytes(content)
    assert "val_0.JPEG" in refused(archive)
    assert nothing_is_left(data_dir)


def test_what_is_no_archive_is_refused(tmp_path: Path, data_dir: Path) -> None:
    assert refused(tmp_path / "absent.zip").startswith(f"There is no file {tmp_path / 'absent.zip'}")
    assert "is a folder" in refused(tmp_path)
    text = tmp_path / "text.zip"
    text.write_text("<html>404 Not Found</html>")
    assert f"{text} is not a zip archive" in refused(text)
    text.write_bytes(b"")
    assert f"{text} is not a zip archive" in refused(text)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("pictures/1.jpg", picture(1))
    assert "has no entry <folder>/wnids.txt" in refused(other)
    assert nothing_is_left(data_dir)


# Disks and other processes.


def test_too_small_a_disk_is_noticed_first(
    archive: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(data_dir)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    assert f"There is no room for the pictures in {data_dir}" in refused(archive)
    assert nothing_is_left(data_dir)


def test_a_disk_that_fills_up_is_a_sentence(
    archive: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def full_after_five(self: Path, content: bytes) -> int:
        written.append(self)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_after_five)
    assert "There is no room for the pictures" in refused(archive)
    assert nothing_is_left(data_dir)


def test_a_data_folder_that_cannot_be_written_is_a_sentence(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("VITQUANT_DATA", str(in_the_way))
    message = refused(archive)
    assert str(in_the_way) in message
    assert "cannot be written" in message


def test_two_at_once_do_not_mix(archive: Path, data_dir: Path) -> None:
    messages = []

    def second_one(done: int, total: int) -> None:
        if done == 3:
            code = "import sys; from vitquant.datasets import *; from pathlib import Path\n"
            code += "try: prepare_tiny_imagenet(Path(sys.argv[1]))\nexcept Exception as e: print(e)"
            command = [sys.executable, "-c", code, archive]
            child = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
            messages.append(child.stdout)

    prepared = prepare_tiny_imagenet(archive, second_one)
    assert "Another process is preparing" in messages[0]
    assert len(tree(prepared.root)) == 18


# Interruptions.


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_shows_nothing_and_is_taken_up_again(
    interruption: type[BaseException], archive: Path, data_dir: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise interruption

    with pytest.raises(interruption):
        prepare_tiny_imagenet(archive, stop)
    with pytest.raises(InputError, match="is not here yet"):
        open_dataset("tiny-imagenet")
    steps = []
    prepared = prepare_tiny_imagenet(archive, lambda done, total: steps.append(done))
    assert steps == list(range(7, 19)), "the seven that were there are not written again"
    assert len(tree(prepared.root)) == 18


def test_an_interruption_at_any_step_is_taken_up_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file appears by os.replace, and the finished folder too: stop before and after every one."""
    replace, steps = os.replace, 18 + 2  # pictures, the record, the folder
    for last in range(2 * steps):
        data = tmp_path / f"data{last}"
        monkeypatch.setenv("VITQUANT_DATA", str(data))
        calls = 0

        def replace_or_stop(old: Path, new: Path, last: int = last) -> None:
            nonlocal calls
            calls += 1
            if last == 2 * calls - 2:
                raise KeyboardInterrupt
            replace(old, new)
            if last == 2 * calls - 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace_or_stop)
            with pytest.raises(KeyboardInterrupt):
                prepare_tiny_imagenet(archive)
        shown = data / "tiny-imagenet"
        assert shown.exists() == (last == 2 * steps - 1), "the app sees all or nothing"
        prepared = prepare_tiny_imagenet(archive)
        assert prepared.already_there == (last == 2 * steps - 1)
        assert len(tree(prepared.root)) == 18
        assert len(open_dataset("tiny-imagenet").examples) == 12


def test_what_was_left_of_another_archive_is_cleared_away(
    archive: Path, tmp_path: Path, data_dir: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    # More pictures, and of those that both have, one is another.
    other = contents(validation=20)
    for name in [name for name in other if name.endswith("val_1.JPEG")]:
        other[name] = picture(200)
    with pytest.raises(KeyboardInterrupt):
        prepare_tiny_imagenet(pack(tmp_path / "other.zip", other), stop)
    mixed = tree(prepare_tiny_imagenet(archive).root)
    pure = prepare(archive, tmp_path / "elsewhere" / "tiny-imagenet")
    assert mixed == tree(pure.root)


def test_a_picture_damaged_while_interrupted_is_written_again(archive: Path, data_dir: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_tiny_imagenet(archive, stop)
    partial = data_dir / ".tiny-imagenet.partial"
    some, other, *_ = sorted(partial.rglob("*.JPEG"))
    some.write_bytes(some.read_bytes()[:100])  # cut short
    damaged = bytearray(other.read_bytes())
    damaged[200] ^= 255  # same size
    other.write_bytes(damaged)
    (partial / ".writing").write_bytes(b"half a pict")
    prepared = prepare_tiny_imagenet(archive)
    whole = {Path(name).name: content for name, content in contents().items()}
    assert all(content == whole[Path(name).name] for name, content in tree(prepared.root).items())
    assert len(tree(prepared.root)) == 18


def test_killed_in_the_middle_it_ends_complete(shared: Path, tiny_imagenet: Path, data_dir: Path) -> None:
    archive = shared / "tiny-imagenet-200-val.zip"
    code = "import sys; from pathlib import Path; from vitquant.datasets import prepare_tiny_imagenet\n"
    code += "prepare_tiny_imagenet(Path(sys.argv[1]))"
    partial = data_dir / ".tiny-imagenet.partial"
    for enough in (1_000, 6_000):
        child = subprocess.Popen([sys.executable, "-c", code, archive], cwd=PROJECT)
        deadline = time.monotonic() + 120
        while sum(len(filenames) for _, _, filenames in os.walk(partial)) < enough:
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not (data_dir / "tiny-imagenet").exists()
    steps = []
    prepared = prepare_tiny_imagenet(archive, lambda done, total: steps.append(done))
    assert 6_000 <= steps[0] < 14_000, "it went on from where it was killed"
    assert not partial.exists()
    assert tree(prepared.root) == tree(tiny_imagenet / "tiny-imagenet")
