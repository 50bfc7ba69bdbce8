"""Models of one's own from files: recognised, checked, registered and taken away; and what is refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from vitquant import catalog, models, own_models, registry, weights
from vitquant.errors import InputError

SMALL = "dinov2_vits14_reg_lc"

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, backbone: State, head: State) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("own")
    torch.save(backbone, folder / "mine.pth")
    torch.save(head, folder / "its-head.pth")
    return folder / "mine.pth", folder / "its-head.pth"


@pytest.fixture(scope="module")
def logits(state: State) -> torch.Tensor:
    return models.load(weights.resolve(SMALL, "random"))(pictures())


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(0))


def refusal(files: list[Path]) -> str:
    with pytest.raises(InputError) as caught:
        own_models.look_at(files)
    return str(caught.value)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_backbone_and_a_head_in_either_order_are_a_model(
    data_dir: Path, files: tuple[Path, Path], logits: torch.Tensor, swapped: bool
) -> None:
    spec = own_models.add("mine", files[::-1] if swapped else files, title="Mine", trained_on="pets")
    known = catalog.models()["mine"]
    assert known == spec
    assert (known.home, known.title, known.trained_on) == ("own", "Mine", "pets")
    assert known.files == tuple(str(file) for file in files)
    assert (known.width, known.depth, known.registers, known.stored_as) == (384, 12, 4, "float32")
    loaded = models.load(weights.resolve("mine"))
    assert torch.equal(loaded(pictures()), logits)


def test_torch_hubs_whole_model_in_one_file(data_dir: Path, tmp_path: Path, state: State) -> None:
    whole = {name if "linear_head" in name else f"backbone.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": whole, "epoch": 3}, tmp_path / "whole.pth")
    spec = own_models.add("whole", [tmp_path / "whole.pth"])
    assert spec.files == (str(tmp_path / "whole.pth"),)
    assert torch.equal(models.load(weights.resolve("whole")).pos_embed, state["pos_embed"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_numbers_become_float32(
    data_dir: Path, tmp_path: Path, files: tuple[Path, Path], backbone: State, dtype: torch.dtype
) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in backbone.items()}, tmp_path / "half.pth")
    spec = own_models.add("half", [tmp_path / "half.pth", files[1]])
    assert spec.stored_as == str(dtype).removeprefix("torch.")
    loaded = models.load(weights.resolve("half"))
    assert torch.equal(loaded.pos_embed, backbone["pos_embed"].to(dtype).float())


def test_a_digest_is_of_the_files(data_dir: Path, tmp_path: Path, files: tuple[Path, Path]) -> None:
    own_models.add("mine", files)
    resolved = weights.resolve("mine")
    assert resolved.files == files
    known = {file: file.name for file in files}
    assert weights.digest(resolved, known.__getitem__) != weights.digest(resolved, lambda file: "other")


def test_a_backbone_alone_is_told_how_to_get_a_head(files: tuple[Path, Path]) -> None:
    said = refusal([files[0]])
    assert said.startswith(f"{files[0]} is a DINOv2 backbone without a head")
    assert f"`python -m vitquant head train NAME --model {SMALL} --backbone FILE --dataset D`" in said


def test_a_head_alone_is_told_to_bring_a_backbone(files: tuple[Path, Path]) -> None:
    assert "holds a head alone: name the backbone's checkpoint" in refusal([files[1]])


def test_two_backbones_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    assert "both hold 'cls_token'" in refusal([files[0], files[0]])


def test_no_file_is_refused() -> None:
    assert "No file is named" in refusal([])


HEADS = {
    "of other classes": ((200, 1920), "has 200 classes: only ImageNet's 1000"),
    "of one block": ((1000, 768), "reads one block (linear1): take the one that reads four"),
    "of another size": ((1000, 3840), "'linear_head.weight' has the shape (1000, 3840), not (1000, 1920)"),
}


@pytest.mark.parametrize(("shape", "said"), HEADS.values(), ids=list(HEADS))
def test_a_head_that_does_not_fit(
    tmp_path: Path, files: tuple[Path, Path], shape: tuple[int, int], said: str
) -> None:
    torch.save({"weight": torch.zeros(shape), "bias": torch.zeros(shape[0])}, tmp_path / "head.pth")
    assert said in refusal([files[0], tmp_path / "head.pth"])


def test_an_unknown_backbone_is_described(tmp_path: Path, backbone: State) -> None:
    fewer = {name: tensor for name, tensor in backbone.items() if not name.startswith("blocks.11.")}
    torch.save(fewer, tmp_path / "odd.pth")
    assert "it has 11 blocks of width 384 and 4 register tokens" in refusal([tmp_path / "odd.pth"])


def edited(change: Callable[[State], object]) -> Callable[[State], State]:
    def edit(state: State) -> State:
        copied = dict(state)
        change(copied)
        return copied

    return edit


DAMAGED = {
    "missing": (edited(lambda s: s.pop("norm.bias")), "the tensor 'norm.bias' is missing"),
    "extra": (edited(lambda s: s.update(more=torch.zeros(1))), "'more' is not one of the model's"),
    "misshapen": (
        edited(lambda s: s.update(mask_token=torch.zeros(1, 5))),
        "'mask_token' has the shape (1, 5)",
    ),
    "float64": (edited(lambda s: s.update(mask_token=torch.zeros(1, 384).double())), "is float64"),
    "NaN": (edited(lambda s: s.update(mask_token=torch.full((1, 384), float("nan")))), "NaN or infinity"),
}


@pytest.mark.parametrize(("change", "said"), DAMAGED.values(), ids=list(DAMAGED))
def test_damage_is_named_and_nothing_is_registered(
    data_dir: Path,
    tmp_path: Path,
    files: tuple[Path, Path],
    backbone: State,
    change: Callable[[State], State],
    said: str,
) -> None:
    torch.save(change(backbone), tmp_path / "damaged.pth")
    with pytest.raises(InputError) as caught:
        own_models.add("damaged", [tmp_path / "damaged.pth", files[1]])
    assert said in str(caught.value)
    assert str(tmp_path / "damaged.pth") in str(caught.value)
    assert not registry.entries(registry.MODELS)


def whole_module(file: Path) -> None:
    torch.save(nn.Linear(2, 2), file)


def torchscript(file: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)


def with_code(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/load.py", "print('run')")


FORMATS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a whole module": (whole_module, "module.pth", "refers to torch.nn.modules.linear.Linear"),
    "TorchScript": (torchscript, "program.pt", "it is TorchScript"),
    "code in a zip": (with_code, "model.zip", "an archive with Python code"),
    "ONNX": (lambda file: file.write_bytes(b"\x08\x07"), "model.onnx", "it is an ONNX graph"),
    "HDF5 by its content": (lambda file: file.write_bytes(b"\x89HDF\r\n"), "model.bin", "it is a Keras file"),
    "Python": (lambda file: file.write_text("print()"), "model.py", "it is Python code"),
    "a pickle": (lambda file: file.write_bytes(b"\x80\x04."), "model.pkl", "it is a plain pickle"),
    "an error page": (lambda file: file.write_text("<!DOCTYPE html>"), "vits.pth", "it is a web page"),
    "no file": (lambda file: None, "none.pth", "cannot be read: No such file or directory"),
    "a folder": (lambda file: file.mkdir(), "folder.pth", "cannot be read: Is a directory"),
    "nothing in it": (lambda file: file.write_bytes(b""), "empty.pth", "cut short, damaged or no checkpoint"),
    "no weights": (lambda file: torch.save({"a": 1}, file), "a.pth", "is no DINOv2 backbone"),
    "a list": (lambda file: torch.save([1], file), "list.pth", "holds a list, not tensors by name"),
}


@pytest.mark.parametrize(("write", "name", "said"), FORMATS.values(), ids=list(FORMATS))
def test_what_is_no_table_of_tensors_is_refused(
    tmp_path: Path, write: Callable[[Path], object], name: str, said: str
) -> None:
    write(tmp_path / name)
    assert said in refusal([tmp_path / name])


def test_tables_without_an_end_are_refused(tmp_path: Path) -> None:
    around: dict[str, object] = {}
    around["model"] = around
    torch.save(around, tmp_path / "around.pth")
    assert "is no DINOv2 backbone" in refusal([tmp_path / "around.pth"])


def test_a_cut_file_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(files[0].read_bytes()[:100_000])
    assert f"{cut} (100,000 bytes) cannot be read as a checkpoint: it is cut short" in refusal([cut, files[1]])


def test_a_name_that_is_taken_is_refused_before_files_are_read(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is one of vitquant's own names"):
        own_models.add(SMALL, [tmp_path / "not there"])


def test_its_weights_are_its_files_or_random(data_dir: Path, tmp_path: Path, files: tuple[Path, Path]) -> None:
    own_models.add("mine", files)
    assert weights.resolve("mine", "random").files == ()
    with pytest.raises(InputError, match="has its own files"):
        weights.resolve("mine", str(tmp_path))


def test_removed_it_is_gone_and_its_files_stay(data_dir: Path, files: tuple[Path, Path]) -> None:
    own_models.add("mine", files)
    own_models.remove("mine")
    assert "mine" not in catalog.models()
    assert all(file.is_file() for file in files)
    with pytest.raises(InputError):
        own_models.remove("mine")


def test_a_head_made_here_is_deleted_with_its_model(
    data_dir: Path, files: tuple[Path, Path], head: State
) -> None:
    registry.folder(registry.MODELS).mkdir(parents=True)
    made = registry.folder(registry.MODELS) / "mine-head.pth"
    torch.save(head, made)
    own_models.add("mine", [files[0], made])
    own_models.remove("mine")
    assert not made.exists()
    assert files[0].is_file()
