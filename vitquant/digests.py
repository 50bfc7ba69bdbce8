"""The digest of a file's content."""

import hashlib
from pathlib import Path

from vitquant.errors import InputError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in lower-case hex. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check that it is there.") from error
