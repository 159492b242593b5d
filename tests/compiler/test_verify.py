import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from regc.compiler.errors import ModelError, RegcError, UsageError
from regc.compiler.feeds import archives
from regc.compiler.feeds.inputs import Input, check_feeds, inputs_of_model, load_feeds
from regc.compiler.model import load
from regc.compiler.verify import OutputError, Verification, compare, verify_compiled
from regc.compiler.verify import verification as verify
from regc.compiler.verify.difference import Tally
from regc.compiler.verify.guess import index_bounds, random_feeds
from regc.compiler.verify.running import Runner, library_status
from support import model, normal

DENSE = "g (float[n,8] x) => (float[n,4] y) { y = MatMul(x, w) }"
TOKENS = """g (int64[batch,seq] ids, int64[batch,seq] attention_mask, float[2,batch,3] state)
        => (float[batch,seq,6] y, float[2,batch,3] next) {
    e = Gather(table, ids)
    m = Cast<to=1>(attention_mask)
    axis = Constant<value_ints=[2]>()
    m3 = Unsqueeze(m, axis)
    y = Mul(e, m3)
    next = Identity(state)
}"""


def save(proto: onnx.ModelProto, path: Path) -> Path:
    onnx.save(proto, path)
    return path


def dense(path: Path, *, change: float = 0.0) -> Path:
    return save(model(DENSE, w=normal(8, 4) + np.float32(change)), path)


def session(path: Path) -> Any:
    return Runner().open(path, library=False)


# --- the measure ---------------------------------------------------------------------------------


def measured(*pairs: tuple[Any, Any]) -> OutputError:
    tally = Tally("y")
    for original, compressed in pairs:
        tally.add(original, compressed)
    return tally.result()


def test_the_figures_follow_their_formulas_over_all_feeds() -> None:
    y = [np.float32([[3, 4]]), np.float32([[0, 12]])]
    z = [np.float32([[3, 5]]), np.float32([[2, 12]])]
    error = measured(*zip(y, z, strict=True))
    assert (error.count, error.differ) == (4, 2)
    assert error.max_abs == 2
    assert error.mean_abs == 3 / 4
    assert error.sqnr_db == pytest.approx(10 * math.log10((9 + 16 + 144) / (1 + 4)))
    assert error.cosine == pytest.approx((9 + 20 + 144) / math.sqrt(169 * (9 + 25 + 4 + 144)))
    assert error.comparable


def test_equal_outputs_are_exact_also_where_both_are_nan_or_infinite() -> None:
    y = np.float32([1, np.nan, np.inf, -np.inf])
    error = measured((y, y.copy()))
    assert (error.differ, error.max_abs, error.mean_abs, error.sqnr_db, error.cosine) == (
        0,
        0,
        0,
        math.inf,
        1,
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e38])
def test_a_value_that_stops_being_finite_is_an_infinite_error(wrong: float) -> None:
    error = measured((np.float32([1, 2, np.inf]), np.float32([1, wrong, -np.inf])))
    assert error.differ == 2
    assert (error.max_abs, error.mean_abs, error.sqnr_db) == (math.inf, math.inf, -math.inf)


def test_outputs_without_a_finite_value_are_not_exact() -> None:
    lost = measured((np.full(4, np.nan), np.full(4, np.nan)))
    assert (lost.count, lost.finite, lost.differ) == (4, 0, 0)
    assert lost.note == "no finite value to compare"
    assert math.isnan(lost.sqnr_db)
    assert math.isnan(lost.cosine)
    check = Verification("1 feed given", (lost,), (), "ok", "ok")
    assert check.missed(1e9, None) == check.missed(None, -1e9) == ["y: no finite value to compare"]
    assert check.doubts == "warning: y: no finite value to compare"


def test_values_that_stop_being_finite_have_no_cosine() -> None:
    error = measured((np.ones(4), np.full(4, np.nan)))
    assert (error.finite, error.differ, error.max_abs, error.sqnr_db) == (0, 4, math.inf, -math.inf)
    assert math.isnan(error.cosine)


def test_empty_outputs_are_not_exact_either() -> None:
    assert measured((np.zeros((0, 4)), np.zeros((0, 4)))).note == "no value to compare"


@pytest.mark.parametrize(("after", "doubtful"), [([1, 0.9], False), ([1, -1], True), ([2.2, 1.8], True)])
def test_outputs_with_little_in_common_are_warned_of(after: list[float], doubtful: bool) -> None:
    check = Verification("1 feed given", (measured((np.ones(2), np.array(after))),), (), "ok", "ok")
    assert check.doubts.startswith("warning: y has little in common") == doubtful
    assert ("--exclude" in check.doubts) == doubtful
    assert check.verdict() == (0, "")


def test_zero_outputs_that_become_something_have_no_signal() -> None:
    error = measured((np.zeros(3), np.ones(3)))
    assert (error.sqnr_db, error.cosine, error.max_abs) == (-math.inf, 0, 1)


def test_booleans_and_strings_count_the_share_that_differs() -> None:
    flags = measured((np.array([True, False, True, True]), np.array([True, True, True, True])))
    words = measured((np.array(["a", "b"], object), np.array(["a", "c"], object)))
    assert (flags.differ, flags.mean_abs, flags.max_abs) == (1, 0.25, 1)
    assert (words.differ, words.mean_abs, words.max_abs) == (1, 0.5, 1)


def test_sequences_of_maps_are_compared_by_keys_and_values() -> None:
    same = measured(([{0: 0.5, 1: 0.25}], [{0: 0.5, 1: 0.25}]))
    other = measured(([{0: 0.5, 1: 0.25}], [{0: 0.5, 2: 0.5}]))
    assert (same.count, same.differ) == (4, 0)
    assert (other.differ, other.max_abs) == (2, 1)


def test_another_shape_is_not_compared_and_said() -> None:
    error = measured((np.zeros((5, 4)), np.zeros((6, 4))))
    assert error.note == "shape [5, 4] became [6, 4]: not compared"
    assert not error.comparable
    assert math.isnan(error.sqnr_db)


# --- random feeds --------------------------------------------------------------------------------


def test_names_and_the_graph_shape_random_feeds(tmp_path: Path) -> None:
    path = save(model(TOKENS, table=normal(50, 6)), tmp_path / "m.onnx")
    bounds = index_bounds(load(path).graph)
    assert bounds == {"ids": 50}
    feeds = random_feeds(session(path), 3, seed=1, bounds=bounds)
    assert len(feeds) == 3
    for feed in feeds:
        assert feed["ids"].shape == feed["attention_mask"].shape == (2, 8)
        assert feed["state"].shape == (2, 2, 3)
        assert (feed["attention_mask"] == 1).all()
    assert 8 < max(feed["ids"].max() for feed in feeds) < 50
    assert not np.array_equal(feeds[0]["ids"], feeds[1]["ids"])
    again = random_feeds(session(path), 3, seed=1, bounds=bounds)
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(feeds, again, strict=True) for name in a)


def test_indices_stay_small_when_the_graph_does_not_tell_their_bound(tmp_path: Path) -> None:
    text = "g (int64[n] ids) => (float[n,6] y) { copy = Neg(table)  y = Gather(copy, ids) }"
    path = save(model(text, table=normal(3, 6)), tmp_path / "m.onnx")
    assert random_feeds(session(path), 1, 0)[0]["ids"].max() < 3


def test_lengths_and_sample_rates_are_tried_until_the_model_runs(tmp_path: Path) -> None:
    text = """g (float[n,samples] input, int64 sr) => (float[n,2,k] y) {
        shape = Constant<value_ints=[0,2,-1]>()
        whole = Constant<value_ints=[0,256]>()
        even = Reshape(input, whole)
        flat = Reshape(even, shape)
        rate = Cast<to=1>(sr)
        y = Div(flat, rate)
    }"""
    path = save(model(text), tmp_path / "m.onnx")
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["input"].shape == (2, 256)
    assert feed["sr"] == 16000


def test_a_cache_starts_empty_and_sums_of_dimensions_add_up(tmp_path: Path) -> None:
    text = """g (float[batch,sequence_length,4] x, float[batch,past_length,4] past, int64[batch,total] mask)
            => (float[batch,t,4] y, int64[batch,u] m) {
        y = Concat<axis=1>(past, x)
        m = Identity(mask)
    }"""
    path = save(model(text), tmp_path / "m.onnx")
    proto = onnx.load(path)
    proto.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "past_length + sequence_length"
    onnx.save(proto, path)
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["past"].shape == (2, 0, 4)
    assert feed["mask"].shape == (2, 8)


@pytest.mark.parametrize("kind", ["float16", "double", "bool", "uint8", "int8", "int32", "string"])
def test_every_element_type_is_fed(tmp_path: Path, kind: str) -> None:
    path = save(model(f"g ({kind}[n,3] x) => ({kind}[n,3] y) {{ y = Identity(x) }}"), tmp_path / "m.onnx")
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["x"].shape == (2, 3)
    if kind in ("uint8", "int8"):
        assert np.ptp(feed["x"].astype(int)) > 8


def test_a_type_that_cannot_be_fed_is_named(tmp_path: Path) -> None:
    path = save(model("g (bfloat16[3] x) => (float[3] y) { y = Cast<to=1>(x) }"), tmp_path / "m.onnx")
    with pytest.raises(RegcError, match=r"its input x bfloat16 \[3\] has a type that cannot be fed"):
        random_feeds(session(path), 1, 0)


def test_no_feed_that_runs_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(77, 4)), tmp_path / "m.onnx")
    with pytest.raises(RegcError, match="MatMul"):
        random_feeds(session(path), 1, 0)


# --- feeds from files ----------------------------------------------------------------------------

X = Input("x", "tensor(float)", ("n", 8))


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in "cab":
        np.savez(tmp_path / f"{name}.npz", x=np.full((1, 8), ord(name), np.float32))
    assert [feed["x"][0, 0] for feed in load_feeds(tmp_path, [X])] == [ord(name) for name in "abc"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.zeros((1, 8), np.float32)}, r"no array named x; there is z float32 \[1, 8\]; the model"),
        ({"x": np.zeros((1, 8), np.float32), "z": np.zeros(1)}, "z is not an input; the model takes"),
        ({"x": np.zeros((1, 8))}, r"x is float64 \[1, 8\]; the model takes x float \[n, 8\]"),
        ({"x": np.zeros((1, 9), np.float32)}, r"x is float32 \[1, 9\]; the model takes"),
        ({"x": np.zeros(8, np.float32)}, r"x is float32 \[8\]; the model takes"),
    ],
)
def test_a_feed_that_does_not_fit_names_file_and_model(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises(UsageError, match=rf"one\.npz: {words}"):
        list(load_feeds(tmp_path, [X]))


def test_what_is_no_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.npz").write_bytes(b"not an archive")
    with pytest.raises(UsageError, match=r"one\.npz cannot be read as \.npz"):
        list(load_feeds(tmp_path, [X]))


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_headers_are_held_against_the_inputs_in_every_file(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "0.npz", x=np.zeros((1, 8), np.float32))
    check_feeds(tmp_path, [X])
    write(tmp_path / "1.npz", x=np.zeros((1, 9), np.float32))
    with pytest.raises(UsageError, match=r"1\.npz: x is float32 \[1, 9\]; the model takes"):
        check_feeds(tmp_path, [X])


def test_headers_are_read_without_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "0.npz", x=np.zeros((1, 8), np.float32))
    monkeypatch.setattr(archives.npy, "read_array", lambda *_, **__: pytest.fail("values were read"))
    check_feeds(tmp_path, [X])


def test_what_pickles_hold_is_refused_without_advice_to_load_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", x=np.array([{}], object))
    with pytest.raises(UsageError, match="holds Python objects") as error:
        check_feeds(tmp_path, [X])
    assert "allow_pickle" not in str(error.value)
    (tmp_path / "0.npz").write_bytes(b"not an archive")
    with pytest.raises(UsageError, match="cannot be read as") as error:
        check_feeds(tmp_path, [X])
    assert "allow_pickle" not in str(error.value)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "0.npz")
    with pytest.raises(UsageError, match="a single array without a name"):
        check_feeds(tmp_path, [X])


def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no \.npz file"):
        load_feeds(tmp_path, [X])
    with pytest.raises(UsageError, match="is not a folder"):
        load_feeds(tmp_path / "none", [X])


def test_text_is_fed_as_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.array(["a", "b"]))
    (feed,) = load_feeds(tmp_path, [Input("x", "tensor(string)", (None,))])
    assert feed["x"].dtype == object


def test_inputs_are_the_same_from_the_graph_and_from_onnx_runtime(tmp_path: Path) -> None:
    path = save(model(TOKENS, table=normal(50, 6)), tmp_path / "m.onnx")
    assert inputs_of_model(load(path)) == verify.inputs_of(session(path))


# --- two models ----------------------------------------------------------------------------------


def test_a_model_against_itself_is_exact(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    check = verify_compiled(path, path)
    assert check.inputs == "4 random feeds, seed 0"
    assert check.outputs == (OutputError("y", 4 * 2 * 4, 4 * 2 * 4, 0, 0, 0, math.inf, 1),)
    assert (check.original, check.without_library, check.problems, check.broken) == ("ok", "ok", (), "")
    assert check.verdict(max_error=0, min_sqnr=200) == (0, "")


def test_a_difference_is_measured_and_held_against_tolerances(tmp_path: Path) -> None:
    before, after = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", change=0.01)
    (output,) = verify_compiled(before, after).outputs
    feeds = random_feeds(session(before), 4, 0)
    expected = [np.abs(feed["x"].sum(1) * 0.01).max() for feed in feeds]
    assert output.max_abs == pytest.approx(max(expected), rel=1e-3)
    check = verify_compiled(before, after)
    assert check.verdict(max_error=1)[0] == 0
    assert check.verdict(max_error=1e-3) == (
        4,
        f"tolerance missed: y: error {output.max_abs:.3g} is above 0.001",
    )
    assert check.verdict(min_sqnr=90)[0] == 4


def test_compare_takes_feeds_and_gives_the_same_figures(tmp_path: Path) -> None:
    before, after = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", change=0.01)
    feeds = random_feeds(session(before), 4, 0)
    assert compare(before, after, feeds) == verify_compiled(before, after).outputs
    with pytest.raises(RegcError, match=r"b2\.onnx cannot be loaded"):
        compare(
            before,
            save(model("g (float[3] x) => (float[3] y) { y = local.F(x) }"), tmp_path / "b2.onnx"),
            feeds,
        )


def test_feeds_of_a_folder_are_used_and_named(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    (tmp_path / "calib").mkdir()
    for index in range(3):
        np.savez(tmp_path / "calib" / f"{index}.npz", x=np.ones((5, 8), np.float32))
    check = verify_compiled(path, path, tmp_path / "calib")
    assert check.inputs == f"3 feeds from {tmp_path / 'calib'}"
    assert check.outputs[0].count == 3 * 5 * 4


def test_a_folder_that_does_not_fit_is_an_error_also_in_its_last_file(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    np.savez(tmp_path / "0.npz", x=np.ones((5, 8), np.float32))
    np.savez(tmp_path / "1.npz", x=np.ones((5, 9), np.float32))
    with pytest.raises(UsageError, match=r"1\.npz"):
        verify_compiled(path, path, tmp_path)


def test_a_model_that_draws_random_numbers_draws_the_same_ones(tmp_path: Path) -> None:
    text = "g (float[4,8] x) => (float[4,8] y) { r = RandomNormalLike(x)  y = Add(x, r) }"
    path = save(model(text), tmp_path / "m.onnx")
    assert verify_compiled(path, path).outputs[0].differ == 0


def foreign(path: Path) -> Path:
    node = helper.make_node("Thing", ["x"], ["y"], domain="com.example")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    return save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)


def test_an_original_that_does_not_load_is_not_blamed_on_the_result(tmp_path: Path) -> None:
    path = foreign(tmp_path / "f.onnx")
    check = verify_compiled(path, path)
    assert check.original.startswith("cannot be loaded: ")
    assert check.problems == (f"the original {check.original}",)
    assert check.without_library.startswith("cannot be loaded")
    assert check.broken == ""
    assert not check.original_fails, "an operator of another vendor is no fault of the model"
    words = "ONNX Runtime does not know com.example:Thing, which the original calls"
    assert check.verdict() == (1, f"nothing was compared: {words}")


def test_an_original_that_is_broken_is_told_from_one_with_foreign_operators(tmp_path: Path) -> None:
    text = "g (float[3,4] x) => (float[3,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(7, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path)
    assert check.original_fails
    assert check.uncompared.startswith("the original cannot be loaded in ONNX Runtime: ")


def test_an_original_that_does_not_run_on_given_inputs_fails(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(7, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path, [{"x": np.zeros((2, 5), np.float32)}])
    assert check.original_fails
    assert check.original.startswith("cannot be run: ")
    assert check.broken == ""
    assert (
        "without the operator library it cannot be loaded"
        in verify_compiled(path, foreign(tmp_path / "f.onnx"), [{"x": np.zeros((2, 5), np.float32)}]).broken
    )


def test_one_failure_in_both_ways_is_told_once(tmp_path: Path) -> None:
    other = save(model(DENSE.replace("x", "z"), w=normal(8, 4)), tmp_path / "b.onnx")
    check = verify_compiled(dense(tmp_path / "a.onnx"), other)
    assert check.broken.startswith("with and without the operator library it cannot be run: ")
    assert check.broken.count("cannot be run") == 1


def test_a_result_that_does_not_load_is_broken(tmp_path: Path) -> None:
    check = verify_compiled(dense(tmp_path / "a.onnx"), foreign(tmp_path / "f.onnx"))
    assert "without the operator library it cannot be loaded" in check.broken
    assert check.outputs == ()
    assert check.verdict()[0] == 1


def test_a_result_without_an_output_is_not_comparable(tmp_path: Path) -> None:
    other = save(model(DENSE.replace("y", "z"), w=normal(8, 4)), tmp_path / "b.onnx")
    check = verify_compiled(dense(tmp_path / "a.onnx"), other)
    assert check.outputs[0].note == "the other model has no such output"
    assert check.verdict(max_error=1)[0] == 4


def test_an_original_that_no_random_input_fits_is_said_in_words(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(77, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path)
    assert check.problems[0].startswith("the original cannot be run on random inputs: ")
    assert (check.original, check.without_library, check.outputs, check.inputs) == ("ok", "ok", (), "none")


def test_a_model_too_big_for_the_memory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dense(tmp_path / "a.onnx")
    monkeypatch.setattr(verify, "available_memory", lambda: 100)
    check = verify_compiled(path, path)
    assert check.original.startswith("not checked: weights of 0.0 GB")
    assert check.with_library.startswith("not checked")
    assert check.without_library.startswith("not checked")
    assert check.problems[0].startswith("outputs not checked: ")
    assert check.broken == ""


def test_without_the_library_the_rest_is_still_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(tmp_path / "none.so"))
    assert library_status().startswith("not checked: the operator library cannot be used")
    path = dense(tmp_path / "a.onnx")
    check = verify_compiled(path, path)
    assert check.with_library == library_status()
    assert check.library_difference is None
    assert check.outputs[0].differ == 0


def test_unknown_files_and_providers_are_errors(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"none\.onnx: there is no such file"):
        verify_compiled(path, tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is no file"):
        verify_compiled(tmp_path, path)
    with pytest.raises(UsageError, match=r"has no NoSuchProvider here; it has .*CPUExecutionProvider"):
        verify_compiled(path, path, providers=["NoSuchProvider"])


def test_steps_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = dense(tmp_path / "a.onnx")
    verify_compiled(path, path, callback=lambda done, total, item: told.append((done, total)))
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)


def test_a_tolerance_that_nothing_can_be_held_against_is_missed() -> None:
    check = Verification("none", (), ("why",), "ok", "ok")
    assert check.missed(1.0, None) == ["no output could be compared"]
    assert check.missed(None, None) == []
