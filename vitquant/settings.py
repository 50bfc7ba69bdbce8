"""The settings: what a person may choose once for every page and command, all in one readable file.

.streamlit/vitquant.toml (or the file that $VITQUANT_SETTINGS names) has a line for each that is not as usual;
an environment variable overrides its line. Imports no torch.
"""

import functools
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitquant.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setting:
    """One thing that can be set."""

    name: str  # in the file
    variable: str  # of the environment, which overrides the file
    meaning: str  # for people
    usual: str  # what holds where nothing is set, in words
    example: str  # as it would stand in the file
    read: Callable[[Any], Any]  # from what the file or the environment says; ValueError where it cannot be


@dataclass(frozen=True)
class Chosen:
    """What holds for a setting, and where that was said."""

    setting: Setting
    value: Any  # None where nothing is set
    origin: str  # "environment", "file" or "usual"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text in quotes")
    return value.strip()


def _address(value: Any) -> str:
    text = _text(value).rstrip("/")
    if not text.startswith(("http://", "https://")):
        raise ValueError("an address that begins with http:// or https://")
    return text


def _count(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number, 1 or more")
    return value


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    said = value.strip().lower() if isinstance(value, str) else None
    if said in ("1", "true", "yes", "on"):
        return True
    if said in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false")


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "data",
            "VITQUANT_DATA",
            "The folder of prepared pictures, stored runs and everything made here.",
            "data/ in the project",
            'data = "/big/disk/vitquant"',
            _text,
        ),
        Setting(
            "mirror",
            "VITQUANT_MIRROR",
            "Where to fetch from instead of the original places: a base address under which "
            "tiny-imagenet-200.zip and the checkpoints' folders (dinov2_vitb14/…) lie.",
            "the original places",
            'mirror = "https://mirror.example/files"',
            _address,
        ),
        Setting(
            "threads",
            "VITQUANT_THREADS",
            "How many cores measurements and answers take, at most.",
            "every core",
            "threads = 4",
            _count,
        ),
        Setting(
            "read_only",
            "VITQUANT_READONLY",
            "Whether the dashboard only shows what was measured, and nobody can start, fetch or remove "
            "anything in it. (The terminal can.)",
            "false",
            "read_only = true",
            _yes,
        ),
        Setting(
            "engine",
            "VITQUANT_ENGINE",
            "What torch runs quantized layers with: x86, fbgemm, onednn or qnnpack.",
            "the one that torch chooses for this CPU",
            'engine = "onednn"',
            _text,
        ),
    )
}


def file() -> Path:
    """Where the settings are kept, whether or not the file is there."""
    return Path(os.environ.get("VITQUANT_SETTINGS") or PROJECT_ROOT / ".streamlit" / "vitquant.toml").absolute()


def chosen(name: str) -> Chosen:
    """What holds for a setting. Raises InputError where the file cannot be read, has a line that is no setting,
    or a value cannot be."""
    setting = SETTINGS[name]
    said = os.environ.get(setting.variable, "").strip()
    if said:
        return Chosen(setting, _read(setting, said, setting.variable), "environment")
    line = _from_file().get(name)
    if line is None:
        return Chosen(setting, None, "usual")
    return Chosen(setting, _read(setting, line, f"{name} in {file()}"), "file")


def value(name: str) -> Any:
    """What is set, or None. Raises as chosen does."""
    return chosen(name).value


def _read(setting: Setting, said: Any, where: str) -> Any:
    try:
        return setting.read(said)
    except ValueError as error:
        raise InputError(f"{where} is {said!r}, which is not {error}: for example {setting.example}") from error


def _from_file() -> Mapping[str, Any]:
    place = file()
    try:
        changed_ns = place.stat().st_mtime_ns
    except OSError:
        return {}
    return _parsed(place, changed_ns)


@functools.lru_cache(maxsize=4)
def _parsed(place: Path, changed_ns: int) -> Mapping[str, Any]:
    """Read anew when the file has changed."""
    try:
        found = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOML's errors and those of the encoding are ValueErrors
        raise InputError(f"The settings in {place} cannot be read ({error}): mend that line.") from error
    unknown = [name for name in found if name not in SETTINGS]
    if unknown:
        raise InputError(
            f"{place} sets {unknown[0]!r}, which is no setting: there are {', '.join(SETTINGS)}. Mend the line."
        )
    return found
