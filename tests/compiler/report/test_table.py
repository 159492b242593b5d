import dataclasses
import json
import math

import pytest

from regc.compiler.verify import OutputError, Verification

from .reports import CHECK, SMALL, changed, left, report, shown, words


def test_a_changed_weight_has_a_row_with_terms_bytes_and_error() -> None:
    row = next(line for line in shown(report(changed("fc.weight"))).splitlines() if line.startswith("fc.weight"))
    assert shown(report(changed("fc.weight"))).split()[:4] == ["weight", "shape", "new", "term"]
    assert row.split() == ["fc.weight", "384x1536", "ternary/64", "2.36", "MB", "->", "1.00", "kB", "0.25"]


def test_the_old_term_is_in_the_rows_when_the_weights_differ_in_it() -> None:
    printed = words(shown(report(changed("a"), changed("b", before="float16")), 120))
    assert "float32 -> ternary/64" in printed
    assert "float16 -> ternary/64" in printed


def test_refusals_are_grouped_by_reason_with_names_and_bytes() -> None:
    printed = words(shown(report(*(left(f"w{index}") for index in range(9)), left("odd", "tied with lm_head"))))
    assert f"9 weights, 4.61 kB: low-rank, ternary: {SMALL} w0, w1, w2 and 6 more" in printed
    assert "1 weight, 512 B: low-rank, ternary: tied with lm_head odd" in printed


def test_many_like_weights_share_a_row_unless_all_are_asked_for() -> None:
    many = report(*(changed(f"layer.{index}.weight", error=index / 1000) for index in range(300)))
    short, long = shown(many), shown(many, full=True)
    assert len(short.splitlines()) < 20
    assert "and 299 like it" in words(short)
    assert "0.299" in short
    assert all(f"layer.{index}.weight" in long for index in range(300))


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_cut(width: int) -> None:
    name = "encoder.layers.10.attention.self.very_long_projection_name_without_any_dots_in_it.weight"
    records = [changed(name, after="rank 153 (ternary/64 x ternary/64)"), left("b")]
    printed = shown(report(*records, verification=CHECK), width)
    assert max(map(len, printed.splitlines())) <= width
    column = "".join(line[: 34 if width == 120 else 26].split(" ")[0] for line in printed.splitlines()[1:6])
    assert name in column


def test_totals_tell_files_weights_and_by_what_they_are_computed() -> None:
    printed = words(shown(report(changed("a"), changed("b", emitted="decoded in front of Conv"), left("c"))))
    assert "weights 2 of 3 changed, 4.72 MB -> 2.51 kB" in printed
    assert "file 56.5 MB -> 6.70 MB (8.4x smaller)" in printed
    assert "1 x ai.regc::TernaryMatMul 1 x decoded in front of Conv" in printed


def test_verification_is_part_of_the_table() -> None:
    printed = words(shown(report(changed("a"), verification=CHECK)))
    assert "with library ok" in printed
    assert "without it ok, outputs differ by at most 3e-07" in printed
    assert "logits 80 0.5 0.125 21.4 dB 0.9964" in printed
    assert "boxes: shape [5, 4] became [6, 4]: not compared" in printed
    assert "measured on 4 random feeds, seed 0" in printed


def test_the_same_long_error_is_told_once() -> None:
    wrong = "cannot be loaded: " + "such a long error " * 5
    check = Verification("none", (), (f"the original {wrong}",), wrong, wrong, original=wrong)
    printed = words(shown(report(changed("a"), verification=check)))
    assert printed.count("cannot be loaded") == 1
    assert report(changed("a"), verification=check).to_html().count("cannot be loaded") == 1
    assert "with library the same without it the same" in printed


def test_values_that_were_not_finite_are_told_from_those_compared() -> None:
    outputs = (OutputError("y", 80, 60, 0, 0, 0, math.inf, 1), OutputError("z", 8, 0, 0, *[math.nan] * 4, note="none"))
    printed = words(shown(report(changed("a"), verification=dataclasses.replace(CHECK, outputs=outputs))))
    assert "y 60 of 80 0 0 exact 1" in printed
    assert "z 8 - - - -" in printed


def test_the_error_of_outputs_has_a_column_when_any_is_known() -> None:
    whole = report(changed("a", output_error=0.125), changed("b"))
    assert "output error" not in shown(report(changed("a")))
    assert "output error" in shown(whole)
    rows = {line.split()[0]: line.split() for line in shown(whole).splitlines() if line.startswith(("a ", "b "))}
    assert rows["a"][-2:] == ["0.25", "0.125"]
    assert rows["b"][-2:] == ["0.25", "-"]
    assert json.loads(whole.to_json())["weights"][0]["output_error"] == 0.125
    assert "0.125" in whole.to_html()


def test_outputs_that_are_others_are_warned_of() -> None:
    logits = CHECK.outputs[0]
    plain = report(verification=CHECK)
    assert "fidelity" not in str(plain)
    strayed = dataclasses.replace(CHECK, outputs=(logits, dataclasses.replace(logits, name="vectors", cosine=0.886)))
    warned = dataclasses.replace(plain, verification=strayed)
    for told in (words(str(warned)), words(warned.to_html())):
        assert "vectors has a cosine of 0.8860 to the original" in told
        assert "A score may hold all the same" in told
