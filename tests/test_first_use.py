"""Digests noted at first use."""

import pytest

from vitquant import first_use, paths
from vitquant.errors import InputError

pytestmark = pytest.mark.usefixtures("data_dir")


def test_the_first_digest_is_kept_and_another_is_refused() -> None:
    noted = first_use.note("a.pth", "1" * 64, 7, "http://one.example/a.pth")
    assert first_use.note("a.pth", "1" * 64, 7, "elsewhere") == noted
    with pytest.raises(InputError, match=r"a\.pth is not what it was: .*2222.*one\.example.*fetched\.json"):
        first_use.note("a.pth", "2" * 64, 7, "http://two.example/a.pth")
    assert first_use.noted()["a.pth"] == noted


def test_others_are_not_touched_and_a_damaged_file_is_not_taken_for_an_empty_one() -> None:
    first_use.note("a.pth", "1" * 64, 7, "x")
    first_use.note("b.pth", "2" * 64, 8, "y")
    assert set(first_use.noted()) == {"a.pth", "b.pth"}
    (paths.data_dir() / "fetched.json").write_text("{")
    assert first_use.noted() == {}
    with pytest.raises(InputError, match=r"fetched\.json.*cannot be read.*mend it, or remove it"):
        first_use.note("a.pth", "3" * 64, 7, "x")
    assert (paths.data_dir() / "fetched.json").read_text() == "{"


def test_what_was_removed_may_come_back_as_something_else() -> None:
    first_use.note("mine/val", "a" * 64, 3, "/pictures")
    first_use.note("other/val", "c" * 64, 3, "/others")
    first_use.forget("mine/val", "never noted")
    assert first_use.note("mine/val", "b" * 64, 4, "/pictures").sha256 == "b" * 64
    assert first_use.check("other/val", "c" * 64)
