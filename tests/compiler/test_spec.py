import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass
from regc.compiler.spec import check_types, format_passes, parse_passes
from regc.passes import RF8, LowRank, Ternary


def test_options_become_fields() -> None:
    passes = parse_passes("low-rank{ratio=2}, ternary{group=64,include=*.mlp.*|op:Conv},rf8")
    assert passes == [LowRank(ratio=2), Ternary(group=64, include=("*.mlp.*", "op:Conv")), RF8()]


@pytest.mark.parametrize(
    "passes",
    [
        [RF8()],
        [LowRank(energy=0.9)],
        [LowRank(rank=8), Ternary(group=32, exclude=("head",)), RF8(rounding="nearest")],
        [Ternary(include=("size:>=1M", "op:MatMul"))],
        [RF8(include=("a,b", "c|d", "e{f}", "g h", 'i"j', "k\\l", "", "m(n"), exclude=("o(p,q)",))],
    ],
)
def test_round_trip(passes: list[object]) -> None:
    text = format_passes(passes)  # type: ignore[arg-type]
    assert parse_passes(text) == passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("terary", 'no pass "terary"; did you mean "ternary"'),
        ("ternary{grup=64}", 'no option "grup"; did you mean "group"'),
        ("ternary{group=many}", 'group takes int, not "many"'),
        ("rf8{rounding=up}", 'not "up"'),
        ("ternary{group=64", "not closed"),
        ("ternary}", "closes nothing"),
        ("ternary{group}", "needs a value"),
        ("ternary{group=64}x", "a comma is missing"),
        ("ternary(group=64)", "options go in braces"),
        ("ternary{group=64,group=32}", "group of ternary is given twice"),
        ("", "no passes given"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        parse_passes(text)


ANYTHING = string.printable + "\u00e9\u2192\U0001f600\u0000"


@given(st.lists(st.text(ANYTHING, min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_selector_survives_the_text(selectors: list[str]) -> None:
    passes = [RF8(include=tuple(selectors))]
    assert parse_passes(format_passes(passes)) == passes


@pytest.mark.parametrize(
    ("pass_", "message"),
    [
        (lambda: RF8(include="*W"), r"include takes list, not '\*W'; write include=\('\*W',\)"),
        (lambda: RF8(exclude=(1,)), "exclude takes list"),
        (lambda: LowRank(rank=2.5), "rank must be auto or pela, got 2.5"),
        (lambda: LowRank(stored=1), "stored takes bool, not 1"),
    ],
)
def test_options_of_the_wrong_type_are_named(pass_: Callable[[], Pass], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_types(pass_())
