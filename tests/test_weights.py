"""Where weights come from: names and folders, Torch Hub's cache, downloads that fail in every way."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.loopback import Fault, Site, serving
from vitquant import catalog, first_use, models, weights
from vitquant.digests import sha256_of
from vitquant.download import Patience
from vitquant.errors import InputError

SMALL = "dinov2_vits14_reg_lc"
SPEC = catalog.model(SMALL)
NAMES = (SPEC.backbone_file, SPEC.head_file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch Hub's checkpoint folder, empty; not there until something is put into it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def mirror(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A mirror on the loopback that has both files."""
    with serving({name: checkpoints / name for name in NAMES}) as site:
        monkeypatch.setenv("VITQUANT_MIRROR", f"{site.address}/dinov2/")
        monkeypatch.setattr(weights, "PATIENCE", Patience(stalled_after_s=1.0, retries=1, backoff_factor_s=0))
        yield site


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- naming weights ----------------------------------------------------------------------------------


def test_the_hubs_files_are_where_torch_hub_keeps_them(cache: Path) -> None:
    hub = weights.resolve(SMALL, "hub")
    assert hub.files == tuple(cache / name for name in NAMES)
    assert str(cache) == str(Path(torch.hub.get_dir()) / "checkpoints")
    assert hub.label == "hub"


def test_random_weights_need_no_files_and_are_always_here() -> None:
    random = weights.resolve(SMALL, "random")
    assert (random.files, random.label, weights.is_here(random)) == ((), "random", True)


def test_a_folder_is_named_absolutely_so_that_a_process_elsewhere_finds_it(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoints.parent)
    here = weights.resolve(SMALL, checkpoints.name)
    assert here.label == str(checkpoints)
    assert weights.resolve(SMALL, here.label) == here
    assert weights.is_here(here)


def test_a_tilde_is_the_home_folder(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(checkpoints.parent))
    assert weights.resolve(SMALL, f"~/{checkpoints.name}").files[0] == checkpoints / NAMES[0]


@pytest.mark.parametrize("lacking", [NAMES[:1], NAMES[1:], NAMES], ids=["backbone", "head", "both"])
def test_a_folder_that_lacks_a_file_is_told_which_and_what_is_expected(
    tmp_path: Path, lacking: tuple[str, ...]
) -> None:
    for name in set(NAMES) - set(lacking):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        weights.resolve(SMALL, str(tmp_path))
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} lacks {' and '.join(lacking)}: ")
    assert all(name in said for name in NAMES)


def test_one_file_is_no_folder(checkpoints: Path) -> None:
    with pytest.raises(InputError, match=rf"it is a file.*{re.escape(NAMES[0])} and {re.escape(NAMES[1])}"):
        weights.resolve(SMALL, str(checkpoints / NAMES[0]))


def test_a_misspelt_source_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'hubb': it does not exist.*hub, or random"):
        weights.resolve(SMALL, "hubb")


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean dinov2_vits14_reg_lc"):
        weights.resolve("dinov2_vits14_regs_lc", "random")


# ---- telling weights apart ---------------------------------------------------------------------------


def test_the_digest_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    def digest_with(folder: str, content: bytes) -> str:
        (tmp_path / folder).mkdir()
        for name in NAMES:
            (tmp_path / folder / name).write_bytes(content + name.encode())
        return weights.digest(weights.resolve(SMALL, str(tmp_path / folder)), sha256_of)

    one, same, other = digest_with("one", b"1"), digest_with("same", b"1"), digest_with("other", b"2")
    assert one == same != other
    assert re.fullmatch("[0-9a-f]{64}", one)


def test_swapped_contents_have_another_digest(tmp_path: Path) -> None:
    backbone, head = tmp_path / "a", tmp_path / "b"
    for file in (backbone, head):
        file.touch()
    files = weights.Weights(SMALL, "folder", (backbone, head))
    assert weights.digest(files, {backbone: "1", head: "2"}.__getitem__) != weights.digest(
        files, {backbone: "2", head: "1"}.__getitem__
    )


def test_weights_that_are_not_here_have_no_digest_but_a_way_to_come(cache: Path) -> None:
    with pytest.raises(InputError, match=f"{NAMES[0]} and .*{NAMES[1]}.*python -m vitquant fetch"):
        weights.digest(weights.resolve(SMALL, "hub"), sha256_of)


def test_random_weights_are_told_by_their_rule_and_read_no_file() -> None:
    def never(file: Path) -> str:
        raise AssertionError(f"{file} was read")

    assert weights.digest(weights.resolve(SMALL, "random"), never) == "random-1"


def test_naming_weights_needs_no_torch() -> None:
    code = (
        "import sys; from vitquant import weights; weights.is_here(weights.resolve('dinov2_vitb14_lc', 'hub'));"
        "print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- downloading -------------------------------------------------------------------------------------


def test_a_download_ends_in_torch_hubs_cache_and_loads(cache: Path, mirror: Site, checkpoints: Path) -> None:
    hub = weights.resolve(SMALL, "hub")
    assert not weights.is_here(hub)
    shown: list[tuple[int, int]] = []
    weights.fetch(hub, lambda done, total: shown.append((done, total)))

    assert [one.path for one in mirror.asked] == [f"/dinov2/dinov2_vits14/{name}" for name in NAMES]
    assert left_in(cache) == sorted(NAMES)
    assert weights.is_here(hub)
    assert weights.digest(hub, sha256_of) == weights.digest(weights.resolve(SMALL, str(checkpoints)), sha256_of)
    assert shown == sorted(shown)
    assert shown[-1] == (SPEC.download_bytes, SPEC.download_bytes)

    inputs = torch.zeros(1, 3, 28, 28)
    expected = models.load(weights.resolve(SMALL, "random"))(inputs)
    assert torch.equal(models.load(hub)(inputs), expected)


def test_only_what_the_cache_lacks_is_downloaded(cache: Path, mirror: Site, checkpoints: Path) -> None:
    cache.mkdir(parents=True)
    (cache / NAMES[0]).write_bytes(b"the notebook's own download")
    weights.fetch(weights.resolve(SMALL, "hub"))
    assert [one.path for one in mirror.asked] == [f"/dinov2/dinov2_vits14/{NAMES[1]}"]
    weights.fetch(weights.resolve(SMALL, "hub"))
    assert len(mirror.asked) == 1
    assert (cache / NAMES[0]).read_bytes() == b"the notebook's own download"


def test_a_folder_and_random_weights_are_never_downloaded(mirror: Site, checkpoints: Path) -> None:
    weights.fetch(weights.resolve(SMALL, "random"))
    weights.fetch(weights.resolve(SMALL, str(checkpoints)))
    assert mirror.asked == []


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ([Fault(status=404)], "404"),
        ([Fault(body=b"PK\x03\x04" + bytes(1000))], "not the whole file, which has more than"),
        ([Fault(body=b"PK\x03\x04" + bytes(4 * SPEC.backbone_parameters))], "it is cut short"),
        ([Fault(body=b"<!DOCTYPE html><title>Please log in</title>")], "not the whole file"),
        ([Fault(hangs_up=True)] * 3, "could not be reached"),
    ],
    ids=["not found", "too short", "without its end", "web page", "hung up"],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    cache: Path, mirror: Site, faults: list[Fault], reason: str
) -> None:
    mirror.faults[NAMES[0]] = faults
    with pytest.raises(InputError) as caught:
        weights.fetch(weights.resolve(SMALL, "hub"))
    said = str(caught.value)
    assert said.startswith(SPEC.backbone_url)
    assert reason in said
    assert "VITQUANT_MIRROR" in said and "--weights FOLDER" in said and "--weights random" in said
    assert left_in(cache) == []


def test_a_cut_download_goes_on_where_it_was(cache: Path, mirror: Site) -> None:
    mirror.faults[NAMES[0]] = [Fault(cut_after=50_000_000), Fault(status=403)]
    with pytest.raises(InputError, match="403"):
        weights.fetch(weights.resolve(SMALL, "hub"))
    weights.fetch(weights.resolve(SMALL, "hub"))
    assert weights.is_here(weights.resolve(SMALL, "hub"))
    assert 0 < 50_000_000 - mirror.asked[-2].first < 10**6


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://127.0.0.1:9", "could not be reached"), ("no-url", "is 'no-url'")],
)
def test_no_mirror_there_is_a_sentence(
    cache: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setenv("VITQUANT_MIRROR", url)
    with pytest.raises(InputError, match=reason) as caught:
        weights.fetch(weights.resolve(SMALL, "hub"))
    assert url in str(caught.value)
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_to_is_a_sentence(cache: Path, mirror: Site) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written into .*(Not a directory|File exists)"):
        weights.fetch(weights.resolve(SMALL, "hub"))
    assert mirror.asked == []


def test_a_checkpoint_with_another_digest_than_the_first_is_refused(
    cache: Path, mirror: Site, checkpoints: Path, data_dir: Path
) -> None:
    hub = weights.resolve(SMALL, "hub")
    first_use.note(NAMES[0], "0" * 64, 1, "http://one.example")
    with pytest.raises(InputError, match=f"{NAMES[0]} is not what it was"):
        weights.fetch(hub)
    assert left_in(cache) == []
    first_use.forget(NAMES[0])
    weights.fetch(hub)
    assert {name: first_use.noted()[name].sha256 for name in NAMES} == {
        name: sha256_of(checkpoints / name) for name in NAMES
    }
