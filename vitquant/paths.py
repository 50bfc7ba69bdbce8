"""Where things are kept."""

import os
from pathlib import Path

from vitquant import settings
from vitquant.settings import PROJECT_ROOT


def data_dir() -> Path:
    """The folder of prepared pictures and stored runs: the setting "data", else data/ in the project. A
    relative path in the settings' file begins in the project's folder."""
    chosen = settings.chosen("data")
    begins = PROJECT_ROOT if chosen.origin == "file" else Path.cwd()
    return (begins / Path(chosen.value or PROJECT_ROOT / "data").expanduser()).resolve()


def sample_dir() -> Path:
    """The built-in sample, part of the project: $VITQUANT_SAMPLE, else data/sample in the project."""
    return Path(os.environ.get("VITQUANT_SAMPLE") or PROJECT_ROOT / "data" / "sample").expanduser().resolve()


def child_environment() -> dict[str, str]:
    """The environment for processes started in the project's folder: the same data folder as here, also
    where $VITQUANT_DATA is relative to another; and no more of torch's threads than the settings allow."""
    return {**os.environ, "VITQUANT_DATA": str(data_dir()), **threads_environment()}


def threads_environment() -> dict[str, str]:
    """What tells torch, before it is imported, how many threads it may use; nothing where nobody has said."""
    threads = settings.value("threads")
    return {} if threads is None else {"OMP_NUM_THREADS": str(threads)}


def store_file() -> Path:
    """The SQLite file with every run and prediction."""
    return data_dir() / "vitquant.sqlite"


def exports_dir() -> Path:
    """The folder of files made to take away."""
    return data_dir() / "exports"


def hub_checkpoints_dir() -> Path:
    """Torch Hub's checkpoint folder, found as torch.hub.get_dir() does, without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    return home.expanduser() / "hub" / "checkpoints"


def as_said(said: str | Path) -> Path:
    """The absolute path that somebody means, "~" being their home; one of an unknown user stays as it is."""
    return Path(os.path.abspath(os.path.expanduser(said)))
