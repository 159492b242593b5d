from regc.compiler import Decision
from regc.compiler.report.summary import by_pass, refused

from .reports import SMALL, changed, left, record


def test_a_pass_that_was_left_nothing_is_mentioned() -> None:
    summaries = by_pass([changed("a")], "ternary{group=64,include=a|b},rf8")
    assert [(summary.name, summary.changed) for summary in summaries] == [("ternary", 1), ("rf8", 0)]
    assert "the passes before it left none" in summaries[1].words


def test_a_weight_changed_in_part_counts_as_changed() -> None:
    both = (
        Decision("a", "ternary", "A", "float32", "ternary"),
        Decision("a", "ternary", "B", "float32", None, SMALL),
    )
    (summary,) = by_pass([record("a", *both, error=0.1)], "ternary")
    assert (summary.changed, summary.refused) == (1, ())


def test_reasons_shared_by_passes_are_told_once() -> None:
    assert left("a").reason == f"low-rank, ternary: {SMALL}"
    assert changed("a").reason == ""
    assert record("a", Decision("a", "", "", "", None, "is itself an output")).reason == "is itself an output"
    reasons = [reason for reason, _ in refused([left("a", "x"), left("b", "y"), left("c", "y")])]
    assert reasons == ["low-rank, ternary: y", "low-rank, ternary: x"]


def test_factors_are_not_called_weights() -> None:
    cut = Decision("a", "low-rank", "", "float32", "rank 8", None, 0.1)
    left = Decision("a", "rf8", "B", "float32", None, SMALL)
    first, second = by_pass([record("a", cut, left, error=0.1)], "low-rank,rf8")
    assert first.words == "1 of 1 weight"
    assert second.words == "0 of 1 remaining factor"
