"""A zip archive of pictures that somebody uploads: unpacked whole, or refused with nothing left of it."""

import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from tests.test_own_pictures import GOLDFISH, TENCH, groups, nothing_added
from vitquant import catalog, datasets, own_pictures, own_pictures_zip
from vitquant.errors import InputError


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(file: Path, entries: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


TWO = {"tench/a.png": png(1), "goldfish/b.png": png(2)}


@pytest.mark.parametrize("around", ["", "photos/", "photos/of/mine/", "val/"])
def test_an_archive_is_unpacked_and_added(tmp_path: Path, data_dir: Path, around: str) -> None:
    archive = packed(tmp_path / "Photos.zip", {f"{around}{name}": content for name, content in TWO.items()})
    assert own_pictures.look_through_zip(archive).splits == {"val": 2}
    assert not any((data_dir / "own" / "pictures").iterdir())
    spec = own_pictures.add_zip("photos", archive)
    archive.unlink()
    opened = datasets.open_dataset("photos")
    assert spec.title == "Photos"
    assert opened.root == data_dir / "own" / "pictures" / "photos"
    assert {one.path: one.class_index for one in opened.examples} == {
        "tench/a.png": TENCH,
        "goldfish/b.png": GOLDFISH,
    }
    assert opened.file(opened.examples[0]).read_bytes() == TWO["goldfish/b.png"]
    own_pictures.remove("photos")
    assert "photos" not in catalog.datasets() and not opened.root.exists()


def test_a_single_class_keeps_its_folder(tmp_path: Path, data_dir: Path) -> None:
    own_pictures.add_zip("photos", packed(tmp_path / "a.zip", {"tench/a.png": png(1), "tench/b.png": png(2)}))
    assert {one.class_index for one in datasets.open_dataset("photos").examples} == {TENCH}


def test_a_table_in_the_archive_counts(tmp_path: Path, data_dir: Path) -> None:
    entries = {"mine/a.png": png(1), "mine/labels.csv": b"file,label\na.png,tench\n"}
    own_pictures.add_zip("photos", packed(tmp_path / "a.zip", entries))
    assert [one.class_index for one in datasets.open_dataset("photos").examples] == [TENCH]


def test_what_is_no_picture_is_left_out_and_an_archive_in_it_is_named(tmp_path: Path, data_dir: Path) -> None:
    more = {"__MACOSX/tench/._a.png": b"x", "tench/.DS_Store": b"x", "tench/more.zip": b"PK", "notes.txt": b"x"}
    report = own_pictures.look_through_zip(packed(tmp_path / "a.zip", TWO | more))
    assert groups(report) == {"hidden": 2, own_pictures_zip.ARCHIVE_IN_ARCHIVE: 1, "not a picture": 1}
    assert "tench/more.zip is an archive inside the archive and left out" in report.summary


def test_a_zip_of_zips_has_a_sentence(tmp_path: Path, data_dir: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"one.zip": b"PK", "two.zip": b"PK"})
    with pytest.raises(InputError, match=r"one\.zip is an archive inside the archive"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


@pytest.mark.parametrize(
    "name", ["../up.png", "/etc/up.png", "tench/../../up.png", "C:up.png", "a\\..\\up.png"]
)
def test_an_entry_that_leads_elsewhere_is_refused(tmp_path: Path, data_dir: Path, name: str) -> None:
    archive = packed(tmp_path / "a.zip", TWO | {name: png(3)})
    with pytest.raises(InputError, match="does not lie in the archive's own folder"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir) and not list(tmp_path.rglob("up.png"))


def test_a_link_is_refused(tmp_path: Path, data_dir: Path) -> None:
    archive = packed(tmp_path / "a.zip", TWO)
    with zipfile.ZipFile(archive, "a") as file:
        link = zipfile.ZipInfo("tench/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="is a symbolic link"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


def test_names_that_collide_are_refused(tmp_path: Path, data_dir: Path) -> None:
    archive = packed(tmp_path / "a.zip", TWO | {"Tench/A.png": png(3)})
    with pytest.raises(InputError, match="differs in capitals at most"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


def test_an_encrypted_entry_is_refused(tmp_path: Path, data_dir: Path) -> None:
    archive = packed(tmp_path / "a.zip", TWO)
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag in the table of contents
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"'tench/a\.png' is encrypted"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, data_dir: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"tench/a.png": bytes(12 * 2**20)})
    with pytest.raises(InputError, match="would unpack to 12,582,912"):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


def test_more_than_the_bound_is_refused(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_pictures_zip, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="would unpack to"):
        own_pictures.add_zip("photos", packed(tmp_path / "a.zip", TWO))
    assert nothing_added(data_dir)


def test_an_archive_that_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(InputError, match="free some space"):
        own_pictures.add_zip("photos", packed(tmp_path / "a.zip", TWO))
    assert nothing_added(data_dir)


@pytest.mark.parametrize("what", ["no zip", "cut", "damaged", "a folder", "nothing"])
def test_an_archive_that_cannot_be_read_has_a_sentence(tmp_path: Path, data_dir: Path, what: str) -> None:
    archive = packed(tmp_path / "a.zip", TWO)
    content = archive.read_bytes()
    if what == "no zip":
        archive.write_text("hello")
    elif what == "cut":
        archive.write_bytes(content[:-40])
    elif what == "damaged":
        at = content.index(b"a.png") + 8
        archive.write_bytes(content[:at] + b"\xff" * 12 + content[at + 12 :])
    elif what == "a folder":
        archive = tmp_path
    elif what == "nothing":
        archive = packed(tmp_path / "b.zip", {})
    with pytest.raises(InputError):
        own_pictures.add_zip("photos", archive)
    assert nothing_added(data_dir)


def test_what_a_killed_process_left_is_removed(tmp_path: Path, data_dir: Path) -> None:
    left = data_dir / "own" / "pictures" / ".writing-999999999-abc"
    (left / "tench").mkdir(parents=True)
    own_pictures.add_zip("photos", packed(tmp_path / "a.zip", TWO))
    assert not left.exists()
