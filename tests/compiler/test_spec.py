import pytest

from regc.compiler.errors import UsageError
from regc.compiler.spec import format_passes, parse_passes
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
        ("ternary{group=64}x", "lacks its closing brace"),
        ("", "no passes given"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        parse_passes(text)
