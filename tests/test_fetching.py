"""Fetching Tiny-ImageNet and checkpoints: from a mirror on the loopback, from brought files; verified and
removed."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback import Fault, Site, serving
from tests.test_prepare import contents, pack
from vitquant import catalog, database, datasets, fetching, first_use, inventory, paths, runs, space, weights
from vitquant.digests import sha256_of
from vitquant.download import Patience
from vitquant.errors import Cancelled, InputError
from vitquant.inventory import Item

SMALL = "dinov2_vits14_reg_lc"
SPEC = catalog.model(SMALL)
NAMES = (SPEC.backbone_file, SPEC.head_file)
QUICK = Patience(stalled_after_s=1.0, retries=1, backoff_factor_s=0.0)


def silent(done: int, total: int, unit: str) -> None:
    pass


@pytest.fixture(autouse=True)
def places(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "archive.zip", contents())


@pytest.fixture
def site(archive: Path) -> Iterator[Site]:
    with serving({fetching.ARCHIVE: archive}) as site:
        yield site


def item(name: str) -> Item:
    [found] = [one for one in inventory.items() if one.name == name]
    return found


def test_tiny_imagenet_comes_from_a_mirror_laid_out_with_its_own_digest_shown(
    site: Site, archive: Path
) -> None:
    assert (item("tiny-imagenet").state, item("tiny-imagenet").disk_bytes) == ("not here", 0)
    seen: set[str] = set()
    [row] = fetching.fetch(
        "tiny-imagenet", lambda done, total, unit: seen.add(unit), mirror=site.address, patience=QUICK
    )
    assert seen == {f"bytes of {fetching.ARCHIVE}", "pictures laid out"}
    assert row["sha256"] == sha256_of(archive)
    assert row["digest"].startswith("not the official archive")
    assert len(datasets.open_dataset("tiny-imagenet").examples) > 0
    here = item("tiny-imagenet")
    assert here.state == "here" and here.digests[0][1] == sha256_of(archive)
    assert not (paths.data_dir() / "downloads" / fetching.ARCHIVE).exists()
    asked = len(site.asked)
    assert fetching.fetch("tiny-imagenet", silent, mirror=site.address)[0]["from"] == "already here"
    assert len(site.asked) == asked


def test_the_original_place_has_to_give_the_published_bytes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ARCHIVE_FROM", site.address)
    with pytest.raises(InputError, match="and it has 248,100,043"):
        fetching.fetch("tiny-imagenet", silent, patience=QUICK)
    monkeypatch.setattr(fetching, "ARCHIVE_BYTES", (site.files[fetching.ARCHIVE].stat().st_size))  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"its md5 is .*90528d7ca1a48142e341f4ef8d21d0de"):
        fetching.fetch("tiny-imagenet", silent, patience=QUICK)
    assert item("tiny-imagenet").state == "not here"


def test_a_cut_archive_is_partly_here_and_goes_on(site: Site) -> None:
    site.faults[fetching.ARCHIVE] = [Fault(cut_after=1000), Fault(status=404)]
    with pytest.raises(InputError, match="404"):
        fetching.fetch("tiny-imagenet", silent, mirror=site.address, patience=QUICK)
    assert item("tiny-imagenet").state in ("partly", "not here")  # a block may have been on its way
    fetching.fetch("tiny-imagenet", silent, mirror=site.address, patience=QUICK)
    assert datasets.is_here("tiny-imagenet")


def test_an_archive_that_was_brought_is_read_and_left_where_it_is(archive: Path) -> None:
    [row] = fetching.fetch("tiny-imagenet", silent, files=[archive])
    assert row["from"] == str(archive) and archive.is_file()
    assert datasets.is_here("tiny-imagenet")
    with pytest.raises(InputError, match="one archive"):
        fetching.fetch("tiny-imagenet", silent, files=[archive, archive])


@pytest.mark.parametrize(
    ("entry", "content", "sentence"),
    [
        ("../../climbed.txt", b"x", "does not lie in the archive's own folder"),
        ("tiny-imagenet-200/bomb.bin", None, "would take 4,404,019,200 bytes"),
    ],
)
def test_an_archive_that_climbs_or_inflates_without_end_is_refused(
    site: Site, tmp_path: Path, entry: str, content: bytes | None, sentence: str
) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("tiny-imagenet-200/wnids.txt", "n01443537\n")
        with zipped.open(entry, "w", force_zip64=True) as out:
            for _ in range(1 if content else 4200):
                out.write(content or bytes(2**20))
    site.files[fetching.ARCHIVE] = bad
    with pytest.raises(InputError, match=sentence):
        fetching.fetch("tiny-imagenet", silent, mirror=site.address, patience=QUICK)
    assert item("tiny-imagenet").state == "not here"
    assert not (tmp_path / "climbed.txt").exists() and not (paths.data_dir() / "climbed.txt").exists()


def test_checkpoints_come_into_torch_hubs_cache_and_their_digests_are_noted(checkpoints: Path) -> None:
    with serving({name: checkpoints / name for name in NAMES}) as site:
        rows = fetching.fetch(SMALL, silent, mirror=site.address, patience=QUICK)
        assert [one.path for one in site.asked] == [f"/dinov2_vits14/{name}" for name in NAMES]
    assert [row["file"] for row in rows] == list(NAMES)
    assert all(row["digest"] == "noted now: its source states none" for row in rows)
    assert {name: first_use.noted()[name].sha256 for name in NAMES} == {
        name: sha256_of(checkpoints / name) for name in NAMES
    }
    here = item(SMALL)
    assert here.state == "here" and here.can_be_removed and not here.can_be_fetched
    assert [digest for _, digest in here.digests] == [sha256_of(checkpoints / name) for name in NAMES]


def test_brought_checkpoints_are_copied_whole_verified_and_removed(checkpoints: Path) -> None:
    fetching.fetch(SMALL, silent, files=[checkpoints])
    assert weights.is_here(weights.resolve(SMALL, "hub"))
    rows = fetching.verify(SMALL, silent)
    assert all("whole" in row["is"] for row in rows)
    file = weights.resolve(SMALL, "hub").files[1]
    content = bytearray(file.read_bytes())
    content[2000] ^= 255
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"{NAMES[1]} is not what it was"):
        fetching.verify(SMALL, silent)
    assert space.remove_named(SMALL).startswith(f"Removed {SMALL}, which took")
    assert item(SMALL).state == "not here"
    with pytest.raises(InputError, match="nothing to remove"):
        space.remove_named(SMALL)
    assert (checkpoints / NAMES[0]).is_file()


def test_another_file_under_a_known_name_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    fetching.fetch(SMALL, silent, files=[checkpoints])
    fetching.remove(SMALL)
    other = tmp_path / "other"
    other.mkdir()
    for name in NAMES:
        (other / name).write_bytes((checkpoints / name).read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"is not what it was|cut short"):
        fetching.fetch(SMALL, silent, files=[other])
    assert item(SMALL).state == "not here"
    changed = (checkpoints / NAMES[0]).read_bytes()
    at = len(changed) // 2
    changed = changed[:at] + bytes([changed[at] ^ 255]) + changed[at + 1 :]
    with (
        serving({NAMES[0]: changed, NAMES[1]: checkpoints / NAMES[1]}) as site,
        pytest.raises(InputError, match=rf"{NAMES[0]} is not what it was"),
    ):
        fetching.fetch(SMALL, silent, mirror=site.address, patience=QUICK)
    assert item(SMALL).state == "not here"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"<html>log in</html>", "is not the whole checkpoint"), (b"", "has 0 bytes")],
)
def test_brought_files_that_are_no_checkpoints_are_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        fetching.fetch(SMALL, silent, files=[tmp_path])
    assert item(SMALL).state == "not here"


def test_files_of_another_name_are_told_which_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{NAMES[0]} and {NAMES[1]}"):
        fetching.fetch(SMALL, silent, files=[tmp_path / "model.pth"])


def test_pictures_are_verified_one_by_one_and_removed(archive: Path) -> None:
    fetching.fetch("tiny-imagenet", silent, files=[archive])
    [row] = fetching.verify("tiny-imagenet", silent)
    assert "each can be decoded" in row["is"]
    dataset = datasets.open_dataset("tiny-imagenet")
    moved = dataset.file(dataset.examples[1])
    content = moved.read_bytes()
    moved.unlink()
    with pytest.raises(InputError, match=r"1 of the .* pictures of tiny-imagenet are missing"):
        fetching.verify("tiny-imagenet", silent)
    moved.write_bytes(content)
    dataset.file(dataset.examples[0]).write_bytes(b"no picture")
    with pytest.raises(InputError, match="is not a picture"):
        fetching.verify("tiny-imagenet", silent)
    space.remove_named("tiny-imagenet")
    assert not datasets.folder("tiny-imagenet").exists()
    assert item("tiny-imagenet").state == "not here"


def test_a_folder_that_is_linked_stays_when_its_link_is_removed(archive: Path, tmp_path: Path) -> None:
    fetching.fetch("tiny-imagenet", silent, files=[archive])
    folder = datasets.folder("tiny-imagenet")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    space.remove_named("tiny-imagenet")
    assert not folder.exists() and not folder.is_symlink()
    assert (tmp_path / "elsewhere" / "val").is_dir()


def test_what_a_run_needs_is_not_removed(archive: Path) -> None:
    fetching.fetch("tiny-imagenet", silent, files=[archive])
    request = {"model": "sample", "weights": "", "variants": ["fp32"], "dataset": "tiny-imagenet"}
    with database.opened() as db:
        run = runs.add(db, "accuracy", request, {}, {})
        with pytest.raises(InputError, match=rf"Run {run.id} .accuracy. that needs tiny-imagenet waits"):
            space.remove_named("tiny-imagenet")
        runs.request_cancel(db, run.id)
    space.remove_named("tiny-imagenet")


def test_a_mirrors_archive_is_not_taken_for_the_original(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int, unit: str) -> None:
        if unit == "pictures laid out":
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        fetching.fetch("tiny-imagenet", stop, mirror=site.address, patience=QUICK)
    kept = paths.data_dir() / "downloads" / fetching.ARCHIVE
    assert kept.is_file()
    monkeypatch.setattr(fetching, "ARCHIVE_FROM", site.address)
    with pytest.raises(InputError, match="and it has 248,100,043"):
        fetching.fetch("tiny-imagenet", silent, patience=QUICK)
    assert not kept.exists() and not datasets.is_here("tiny-imagenet")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("sample", "git restore data/sample"), ("tiny-imagnet", "did you mean tiny-imagenet")],
)
def test_what_cannot_be_fetched_is_said(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        fetching.parts(name)
