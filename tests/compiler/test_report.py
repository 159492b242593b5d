import dataclasses
import errno
import io
import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from regc.compiler import Decision, RegcError, SiteInfo, UsageError, compile_model, load
from regc.compiler.model import from_proto
from regc.compiler.records import SiteRecord
from regc.compiler.report import Report, check_report_path, text
from regc.compiler.report.catalog import show_pass, show_passes
from regc.compiler.report.inspection import inspect_model, inspection_data, show_inspection
from regc.compiler.report.summary import by_pass, refused
from regc.compiler.report.table import show_report
from regc.compiler.verify import OutputError, Verification
from regc.passes import RF8, LowRank, Ternary
from support import model, normal

SMALL = "2x64: too small to gain"


def record(name: str, *decisions: Decision, shape: tuple[int, int] = (384, 1536), **changes: Any) -> SiteRecord:
    info = SiteInfo(name, ("MatMul",), (f"/{name}/MatMul",), shape, np.dtype(np.float32), True, True)
    values = SiteRecord(info, "float32", "float32", info.nbytes, info.nbytes, None, "", decisions)
    return dataclasses.replace(values, **changes)


def changed(name: str, *, error: float = 0.25, **changes: Any) -> SiteRecord:
    decision = Decision(name, "ternary", "", "float32", "ternary/64", None, error)
    done = {"after": "ternary/64", "nbytes_after": 1000, "error": error, "emitted": "ai.regc::TernaryMatMul"}
    return record(name, decision, **(done | changes))


def left(name: str, reason: str = SMALL) -> SiteRecord:
    decisions = [Decision(name, pass_, "", "float32", None, reason) for pass_ in ("low-rank", "ternary")]
    return record(name, *decisions, shape=(2, 64))


CHECK = Verification(
    inputs="4 random feeds, seed 0",
    outputs=(
        OutputError("logits", 80, 80, 80, 0.5, 0.125, 21.43, 0.99641),
        OutputError("boxes", 0, 0, 0, *[math.nan] * 4, note="shape [5, 4] became [6, 4]: not compared"),
    ),
    problems=(),
    with_library="ok",
    without_library="ok",
    library_difference=3e-7,
)


def report(*records: SiteRecord, **changes: Any) -> Report:
    whole = Report("model.onnx", "low-rank,ternary{group=64}", records, 1.5, 56_500_000, 6_700_000, "small.onnx")
    return dataclasses.replace(whole, **changes)


def shown(of: Report, width: int = 80, full: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_report(of, console, full)
    out: Any = console.file
    return str(out.getvalue())


def words(printed: str) -> str:
    return " ".join(printed.split())


# --- the table -----------------------------------------------------------------------------------


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


def test_a_model_without_weights_or_one_passed_through_is_told() -> None:
    printed = words(shown(report(note="holds maps", output=None, nbytes_after=None)))
    assert "weights none that a pass could take" in printed
    assert "note holds maps" in printed
    assert Page(report().to_html()).words


def test_verification_is_part_of_the_table() -> None:
    printed = words(shown(report(changed("a"), verification=CHECK)))
    assert "with library ok" in printed
    assert "without it ok, outputs differ by at most 3e-07" in printed
    assert "logits 80 0.5 0.125 21.4 dB 0.9964" in printed
    assert "boxes: shape [5, 4] became [6, 4]: not compared" in printed
    assert "measured on 4 random feeds, seed 0" in printed


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


def test_made_up_names_give_way_to_those_of_nodes() -> None:
    assert text.known_as("onnx::MatMul_712", ["/q/MatMul"]) == "/q/MatMul"
    assert text.known_as("17", ["/q/MatMul"]) == "/q/MatMul"
    assert text.known_as("fc.weight", ["/q/MatMul"]) == "fc.weight"
    assert text.known_as("17", []) == "17"


# --- numbers as text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (56_483_058, "56.5 MB"),
    ],
)
def test_sizes_have_three_digits(nbytes: int, words: str) -> None:
    assert text.size(nbytes) == words


def test_figures_without_a_value_are_dashes_and_equal_ones_exact() -> None:
    assert (text.number(math.nan), text.decibel(math.nan), text.cosine(math.nan)) == ("-", "-", "-")
    assert (text.decibel(math.inf), text.cosine(1)) == ("exact", "1")
    assert text.cosine(0.9999999) == "0.999999900"
    assert text.decibel(-1.26) == "-1.3 dB"


def test_names_break_after_separators_and_lose_nothing() -> None:
    lines = text.wrap("encoder.layer.0.attention.self.query.weight", 20).split("\n")
    assert lines == ["encoder.layer.0.", "attention.self.", "query.weight"]
    assert text.wrap("x" * 45, 20).split("\n") == ["x" * 20, "x" * 20, "x" * 5]
    assert text.shorten("encoder.layer.0.weight", 15) == "encod..0.weight"


# --- JSON and HTML -------------------------------------------------------------------------------


def test_json_has_every_figure_and_is_strict() -> None:
    check = dataclasses.replace(
        CHECK, outputs=(dataclasses.replace(CHECK.outputs[0], sqnr_db=math.inf), CHECK.outputs[1])
    )
    printed = report(changed("a", aliases=("a2",)), left("b"), verification=check).to_json()
    data = json.loads(printed, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert data["file_bytes"] == {"before": 56_500_000, "after": 6_700_000}
    assert data["weights_changed"] == 1
    first, second = data["weights"]
    assert (first["name"], first["aliases"], first["after"], first["error"]) == (
        "a",
        ["a2"],
        "ternary/64",
        0.25,
    )
    assert first["decisions"][0]["pass"] == "ternary"
    assert second["reason"] == f"low-rank, ternary: {SMALL}"
    assert data["refusals"] == {f"low-rank, ternary: {SMALL}": ["b"]}
    outputs = data["verification"]["outputs"]
    assert (outputs[0]["sqnr_db"], outputs[1]["sqnr_db"]) == ("inf", None)


class Page(HTMLParser):
    """Collects the text of a page and checks that its tags nest."""

    VOID = ("meta", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.words: list[str] = []
        self.widths: list[str] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe"), "the page must be self-contained"
        self.widths += [value for name, value in attrs if name == "style" and value]
        self.stack += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += [] if self.stack[-1:] == ["style"] else [data]


def test_the_page_is_well_formed_self_contained_and_has_the_same_numbers() -> None:
    whole = report(changed("a"), left("b"), verification=CHECK)
    page = Page(whole.to_html())
    printed = words(" ".join(page.words))
    for figure in (
        "8.4x",
        "2.36 MB \N{RIGHTWARDS ARROW} 1.00 kB",
        "0.25",
        SMALL,
        "21.4 dB",
        "0.9964",
        "not compared",
        "4 random feeds",
    ):
        assert figure in printed
    assert page.widths == ["width:100.00%", "width:0.04%"]
    assert "http" not in whole.to_html()


def test_names_are_escaped_in_the_page() -> None:
    page = report(changed("<script>alert(1)</script>"), model="a&b.onnx").to_html()
    assert "<script>" not in page
    assert "a&amp;b.onnx" in page
    Page(page)


def test_reports_are_written_by_their_suffix(tmp_path: Path) -> None:
    whole = report(changed("a"))
    whole.write(tmp_path / "r.json")
    whole.write(tmp_path / "r.html")
    assert json.loads((tmp_path / "r.json").read_text())["model"] == "model.onnx"
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match=r"a report is \.json or \.html"):
        whole.write(tmp_path / "r.txt")
    with pytest.raises(UsageError, match="does not exist; create it first"):
        check_report_path(tmp_path / "none" / "r.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        whole.write(tmp_path / "folder.json")


def test_a_report_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report(changed("a"))
    (tmp_path / "r.json").write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegcError, match=r"cannot write the report to .*No space left"):
        whole.write(tmp_path / "r.json")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_page_groups_like_weights_as_the_table_does() -> None:
    page = report(*(changed(f"layer.{index}.weight", error=index / 1000) for index in range(300))).to_html()
    printed = words(" ".join(Page(page).words))
    assert "layer.0.weight and 299 like it" in printed
    assert "layer.123.weight" in printed
    assert page.count("<td") < 40


def test_the_page_fits_a_narrow_window() -> None:
    page = report(changed("a" * 200)).to_html()
    assert "overflow-wrap: anywhere" in page
    assert page.count("<th>") + page.count('<th class="n">') == 6 + 3
    assert "th { text-align: left; white-space: nowrap" not in page


def test_factors_are_not_called_weights() -> None:
    cut = Decision("a", "low-rank", "", "float32", "rank 8", None, 0.1)
    left = Decision("a", "rf8", "B", "float32", None, SMALL)
    first, second = by_pass([record("a", cut, left, error=0.1)], "low-rank,rf8")
    assert first.words == "1 of 1 weight"
    assert second.words == "0 of 1 remaining factor"


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


# --- of true results -----------------------------------------------------------------------------

TWO = """g (float[n,256] x) => (float[n,2] y) {
    h = MatMul(x, big__weight)
    y = MatMul(h, onnx_small)
}"""


def two(path: Path) -> Path:
    proto = model(TWO.replace("__", "_"), big_weight=normal(256, 128), onnx_small=normal(128, 2))
    proto.graph.node[0].name, proto.graph.node[1].name = "/big/MatMul", "/small/MatMul"
    onnx.save(proto, path)
    return path


def test_the_report_of_a_result_is_its_table(tmp_path: Path) -> None:
    path = two(tmp_path / "m.onnx")
    result = compile_model(path, [RF8()])
    printed = str(result.report)
    assert result.report.nbytes_before == path.stat().st_size
    assert "big_weight" in printed
    assert "1 of 2 changed" in words(printed) or "2 of 2 changed" in words(printed)
    assert str(path) in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_a_model_that_regc_made_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    compile_model(two(tmp_path / "m.onnx"), [RF8()], include=["big*"]).save(path)
    assert compile_model(path, [RF8(exclude=("onnx_small",))]).report.earlier == "rf8"
    whole = dataclasses.replace(report(), earlier="rf8")
    assert "weights already compressed by regc (rf8)" in words(shown(whole))
    assert compile_model(tmp_path / "m.onnx", [RF8()]).report.earlier is None


def test_inspection_asks_every_pass_about_every_weight(tmp_path: Path) -> None:
    inspection = inspect_model(load(two(tmp_path / "m.onnx")), [LowRank(ratio=2), Ternary(exclude=("big*",)), RF8()])
    data = inspection_data(inspection)
    big, small = data["weights"]
    assert (big["name"], big["users"], big["shape"], big["bytes"]) == (
        "big_weight",
        ["/big/MatMul"],
        [128, 256],
        131072,
    )
    assert big["passes"]["low-rank"]["term"].startswith("rank ")
    assert big["passes"]["ternary"] == {"refused": 'excluded by "big*"'}
    assert big["passes"]["rf8"]["bytes"] < 131072 / 3
    assert "refused" in small["passes"]["low-rank"]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console, full=True)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "big_weight by /big/ MatMul" in printed or "big_weight by /big/MatMul" in printed
    assert 'excluded by "big*"' in printed
    assert "weights 2, 132 kB" in printed
    assert "ternary 1 of 2 weights" in printed


def test_inspection_shows_the_law_of_every_weight_when_asked(tmp_path: Path) -> None:
    model = load(two(tmp_path / "m.onnx"))
    assert [weight["law"] for weight in inspection_data(inspect_model(model, []))["weights"]] == [None, None]
    inspection = inspect_model(model, [], stats=True)
    for site, weight in zip(inspection.sites, inspection_data(inspection)["weights"], strict=True):
        values = site.load().values.astype(np.float64)
        standard = (values - values.mean()) / values.std()
        assert weight["law"]["kurtosis"] == pytest.approx((standard**4).mean(), rel=1e-5)
        assert weight["law"]["skewness"] == pytest.approx((standard**3).mean(), abs=1e-5)
        assert weight["law"]["peak"] == pytest.approx(np.abs(values).max())
        assert 0 < weight["law"]["int8_bits"] < 8
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "weight nu alpha bits skewness kurtosis" in printed
    assert f"{inspection_data(inspection)['weights'][0]['law']['nu']:.2f}" in printed
    assert "1.8 for a uniform law" in printed


def test_weights_without_a_law_have_dashes(tmp_path: Path) -> None:
    proto = onnx.load(two(tmp_path / "m.onnx"))
    values = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values[0, 0] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, proto.graph.initializer[0].name))
    inspection = inspect_model(from_proto(proto), [], stats=True)
    assert [weight["law"] is None for weight in inspection_data(inspection)["weights"]].count(True) == 1
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console)
    out: Any = console.file
    assert "- - - - -" in words(out.getvalue())


def test_the_catalog_is_made_from_the_fields_of_a_pass() -> None:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    show_pass(Ternary, console)
    show_passes({"rf8": RF8}, console)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "method gptq | lloyd | mean | median gptq where inputs are known error" in printed
    assert "group int a whole row inputs that share a scale (a multiple of 16, or 20 for 1.6bit)" in printed
    show_pass(LowRank, console)
    printed = words(out.getvalue())
    assert "ratio float 2 how many times fewer values; default: 2, unless a rank or energy is given" in printed
    assert f"rf8 {RF8.summary}" in printed


# --- with calibration ------------------------------------------------------------------------------


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
    report = Report("model.onnx", "neuron-mask", (), 1.5, verification=CHECK)
    assert "fidelity" not in str(report)
    strayed = dataclasses.replace(CHECK, outputs=(logits, dataclasses.replace(logits, name="vectors", cosine=0.886)))
    warned = dataclasses.replace(report, verification=strayed)
    for words in (str(warned), warned.to_html()):
        told = " ".join(words.split())
        assert "vectors has a cosine of 0.8860 to the original" in told
        assert "A score may hold all the same" in told
