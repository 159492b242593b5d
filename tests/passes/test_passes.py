from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import regc.passes
from regc.compiler.passes import Pass, options_of
from regc.passes import bad_choice, no_gain, row_slices


@pytest.mark.parametrize("name", ["LowRank", "RF8", "Ternary"])
def test_passes_are_found_by_name(name: str) -> None:
    pass_ = getattr(regc.passes, name)
    assert issubclass(pass_, Pass)
    assert pass_() == pass_()
    assert all(option.metadata["help"] for option in options_of(pass_))


@pytest.mark.parametrize(
    ("pass_", "options"),
    [("RF8", {"scale": None}), ("RF8", {"scale": "tensor"}), ("LowRank", {"ratio": 3.0}), ("Ternary", {"group": 32})],
)
def test_choices_that_there_are(pass_: str, options: dict[str, Any]) -> None:
    assert bad_choice(getattr(regc.passes, pass_)(**options)) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LowRank", "none: 2, unless a rank or energy is given"),
        ("RF8", "none: fitted, but row with rounding=authors"),
        ("Ternary", "none: a whole row"),
    ],
)
def test_the_help_of_an_option_that_is_none_says_what_is_taken(name: str, words: str) -> None:
    helps = [o.metadata["help"] for o in options_of(getattr(regc.passes, name)) if o.default is None]
    assert any(words in help for help in helps)


def test_unknown_names_are_an_error() -> None:
    with pytest.raises(AttributeError, match="Quaternary"):
        _ = regc.passes.Quaternary


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, regc.passes; sys.exit('numpy' in sys.modules or 'regc.compiler' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_gain() -> None:
    assert no_gain((16, 16), 4, 767) is None
    assert no_gain((16, 16), 4, 768) == (
        "16x16: too small to gain, 768 bytes and about 256 of bookkeeping in place of 1024"
    )


@pytest.mark.parametrize(("shape", "size"), [((70, 50), 1), ((70, 50), 1600), ((0, 5), 10), ((3, 0), 10)])
def test_row_slices_cover_the_rows_in_tiles(shape: tuple[int, int], size: int) -> None:
    slices = list(row_slices(shape, 16, size))
    assert [row for s in slices for row in range(s.start, s.stop)] == list(range(shape[0]))
    assert all((s.stop - s.start) % 16 == 0 for s in slices[:-1])
