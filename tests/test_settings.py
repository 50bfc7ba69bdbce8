"""The settings' file and the environment that overrides it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vitquant import catalog, machine, paths, settings
from vitquant.errors import InputError


def test_the_file_says_where_things_are_kept_and_the_environment_overrides_it(
    no_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITQUANT_DATA", raising=False)
    usual = paths.data_dir()
    no_settings.write_text(f'data = "{tmp_path / "big"}"\n')
    assert paths.data_dir() == tmp_path / "big" != usual
    monkeypatch.setenv("VITQUANT_DATA", str(tmp_path / "other"))
    assert paths.data_dir() == tmp_path / "other"
    assert settings.chosen("data").origin == "environment"


def test_a_relative_folder_in_the_file_begins_in_the_project(
    no_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITQUANT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    no_settings.write_text('data = "kept/here"\n')
    assert paths.data_dir() == paths.PROJECT_ROOT / "kept" / "here"


def test_a_changed_file_counts_at_once(no_settings: Path) -> None:
    no_settings.write_text('mirror = "http://one.example/"\n')
    assert catalog.hub_address() == "http://one.example"
    no_settings.write_text('mirror = "https://another.example/files"\n')
    assert catalog.hub_address() == "https://another.example/files"
    no_settings.unlink()
    assert settings.chosen("mirror").origin == "usual"


def test_threads_bound_what_measurements_take_and_torch_itself(no_settings: Path) -> None:
    no_settings.write_text("threads = 1\n")
    assert machine.default_threads() == 1
    said = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        env=paths.child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "threads = 0",
            r"threads in .*vitquant\.toml is 0, which is not a whole number, 1 or more: .*threads = 4",
        ),
        ("threads = true", "not a whole number"),
        ('mirror = "ftp://x"', "not an address that begins with http:// or https://"),
        ('read_only = "perhaps"', "not true or false"),
        ("data = 3", "not a text in quotes"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_an_example(no_settings: Path, text: str, sentence: str) -> None:
    no_settings.write_text(text + "\n")
    with pytest.raises(InputError, match=sentence):
        settings.value(text.split(" ")[0])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"threads == 2\n", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"thread = 2\n", "sets 'thread', which is no setting: there are data, mirror, threads"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(no_settings: Path, content: bytes, sentence: str) -> None:
    no_settings.write_bytes(content)
    with pytest.raises(InputError, match=f"{re.escape(str(no_settings))}.*{sentence}"):
        settings.value("threads")


def test_a_wrong_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITQUANT_THREADS", "many")
    with pytest.raises(InputError, match="VITQUANT_THREADS is 'many'"):
        machine.default_threads()
