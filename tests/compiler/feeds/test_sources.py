import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regc.compiler import RegcError, UsageError
from regc.compiler.feeds.inputs import Feed, Input
from regc.compiler.feeds.sources import open_feeds

X = Input("x", "tensor(float)", ("batch", 8))
IDS = Input("ids", "tensor(int64)", ("batch", "seq"))
RATE = Input("rate", "tensor(int64)", ())
STATE = Input("state", "tensor(float)", (2, "batch", 4))


def rows(count: int) -> np.ndarray:
    return np.arange(count * 8, dtype=np.float32).reshape(count, 8)


def feeds_of(given: object, *inputs: Input, **options: int) -> list[Feed]:
    return list(open_feeds(given, **options).of(inputs))  # type: ignore[arg-type]


# --- arrays of samples ------------------------------------------------------------------------------


def test_an_array_is_fed_in_batches(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(70))
    feeds = feeds_of(tmp_path / "x.npy", X)
    assert [len(feed["x"]) for feed in feeds] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate([feed["x"] for feed in feeds]), rows(70))
    opened = open_feeds(tmp_path / "x.npy")
    assert opened.words == f"70 samples from {tmp_path / 'x.npy'}"
    assert opened.count([X]) == 3


def test_a_fixed_batch_is_kept_and_what_is_left_over_is_not_fed(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=rows(7))
    fixed = Input("x", "tensor(float)", (3, 8))
    assert [len(feed["x"]) for feed in feeds_of(tmp_path / "x.npz", fixed)] == [3, 3]
    assert open_feeds(tmp_path / "x.npz").count([fixed]) == 2
    with pytest.raises(UsageError, match=r"7 samples make no batch for a model that takes x float \[9, 8\]"):
        feeds_of(tmp_path / "x.npz", Input("x", "tensor(float)", (9, 8)))


def test_an_array_with_one_more_axis_is_one_feed_a_sample(tmp_path: Path) -> None:
    states = np.random.default_rng(0).standard_normal((5, 2, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "s.npz", x=rows(5), state=states, rate=np.arange(5))
    feeds = feeds_of(tmp_path / "s.npz", X, STATE, RATE)
    assert len(feeds) == 5
    assert feeds[3]["x"].shape == (1, 8)
    assert feeds[3]["rate"] == 3
    np.testing.assert_array_equal(feeds[3]["state"], states[3])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"y": np.zeros((4, 8), np.float32)},
            r"no array named x; there is y float32 \[4, 8\]; the model takes x float",
        ),
        ({"x": np.zeros((4, 9), np.float32)}, r"x is float32 \[4, 9\]; the model takes x float \[batch, 8\]"),
        ({"x": np.zeros((4, 8))}, "x is float64"),
        ({"x": np.zeros((4, 8), np.float32), "z": np.zeros(5)}, "first axis of every array must be the sample"),
        ({"x": np.float32(1)}, "first axis of every array must be the sample"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UsageError, match=words):
        open_feeds(tmp_path / "x.npz").check([X])


def test_one_array_is_for_models_of_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(2))
    with pytest.raises(UsageError, match=r"is one array, and the model takes x .*; ids"):
        feeds_of(tmp_path / "x.npy", X, IDS)
    (tmp_path / "x.npy").write_bytes(b"text")
    with pytest.raises(UsageError, match=r"cannot be read as \.npy"):
        open_feeds(tmp_path / "x.npy")


# --- lines of JSON ----------------------------------------------------------------------------------


def lines(path: Path, *values: object) -> Path:
    path.write_text("\n".join(map(json.dumps, values)) + "\n\n")
    return path


def test_a_line_is_a_feed_and_the_batch_may_be_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", {"ids": [3, 4, 5]}, {"ids": [[1, 2], [3, 4]]})
    feeds = feeds_of(path, IDS)
    assert [feed["ids"].tolist() for feed in feeds] == [[[3, 4, 5]], [[1, 2], [3, 4]]]
    assert feeds[0]["ids"].dtype == np.int64


def test_whole_numbers_are_fed_to_floats(tmp_path: Path) -> None:
    (feed,) = feeds_of(lines(tmp_path / "d.jsonl", {"x": list(range(8))}), X)
    assert feed["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"id": [1]}, r"line 1: no array named ids; there is id int64 \[1\]; the model takes ids int64"),
        ({"ids": [0.5]}, "line 1: ids: holds float64; the model takes ids int64"),
        ({"ids": [[1], [2, 3]]}, "differ in length"),
        ([1, 2], "line 1: is no object"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_feeds(lines(tmp_path / "d.jsonl", value)).check([IDS])


def test_a_file_that_is_not_json_or_empty(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("no\n")
    with pytest.raises(UsageError, match="line 1: is not JSON"):
        feeds_of(tmp_path / "d.jsonl", IDS)
    (tmp_path / "d.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        open_feeds(tmp_path / "d.jsonl")


# --- Python -----------------------------------------------------------------------------------------


def made() -> Iterator[Feed]:
    for value in range(5):
        yield {"x": np.full((1, 8), value, np.float32)}


def test_a_callable_is_called_for_each_reading() -> None:
    opened = open_feeds(made, samples=3)
    for _ in range(2):
        assert [feed["x"][0, 0] for feed in opened.of([X])] == [0, 1, 2]
    assert opened.count([X]) == 3


def test_feeds_that_can_be_read_once_are_kept() -> None:
    opened = open_feeds(made())
    assert [len(list(opened.of([X]))) for _ in range(2)] == [5, 5]
    assert opened.words == "5 feeds given"


def test_a_callable_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_feeds.py").write_text(
        "import numpy as np\nnumber = 3\ndef make():\n    yield {'x': np.zeros((2, 8), np.float32)}\n"
        "def wrong():\n    return 5\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(feeds_of("our_feeds:make", X)) == 1
    for name, words in [
        ("our_feeds:mak", "cannot be imported"),
        ("no_such_module:make", "cannot be imported"),
        ("our_feeds:number", "is a int; name a callable"),
        ("our_feeds:wrong", "gave int; it must give feeds"),
    ]:
        with pytest.raises(UsageError, match=words):
            feeds_of(name, X)


@pytest.mark.parametrize("error", [KeyError("nothing"), StopIteration()])
def test_what_a_callable_raises_is_told_as_its_own(error: Exception) -> None:
    def made() -> Iterator[Feed]:
        yield {"x": rows(1)}
        raise error

    with pytest.raises(RegcError, match=r"made failed \((KeyError|RuntimeError).*call it by itself to see where"):
        feeds_of(made, X)


def test_a_feed_that_does_not_fit_is_numbered() -> None:
    wrong = [{"x": rows(1)}, {"x": rows(1)[:, :7]}]
    with pytest.raises(UsageError, match=r"calibration feed 1: x is float32 \[1, 7\]; the model takes x"):
        feeds_of(wrong, X)
    with pytest.raises(UsageError, match="calibration feed 0 is a ndarray; a feed is a dict"):
        feeds_of([rows(1)], X)


# --- a choice of samples ----------------------------------------------------------------------------


def test_samples_are_drawn_by_the_seed_and_others_are_held_out(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(100))
    first, again, other = (open_feeds(tmp_path / "x.npy", 20, seed) for seed in (1, 1, 2))
    assert first == again or first.indices == again.indices
    assert first.indices != other.indices
    assert first.indices is not None
    assert len(set(first.indices)) == 20
    held_out = first.held_out()
    assert held_out is not None
    assert held_out.indices is not None
    assert len(held_out.indices) == 20
    assert not set(held_out.indices) & set(first.indices)
    assert held_out.words == f"20 of 100 samples from {tmp_path / 'x.npy'}, held out"
    np.testing.assert_array_equal(np.concatenate([f["x"] for f in first.of([X])]), rows(100)[list(first.indices)])


def test_nothing_is_held_out_of_all(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(10))
    assert open_feeds(tmp_path / "x.npy", 10).held_out() is None
    assert open_feeds(made, 2).held_out() is None


def test_samples_of_a_folder_and_of_lines(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for index in range(6):
        np.savez(tmp_path / "f" / f"{index}.npz", x=np.full((1, 8), index, np.float32))
    path = lines(tmp_path / "d.jsonl", *({"x": [index] * 8} for index in range(6)))
    for given in (tmp_path / "f", path):
        opened = open_feeds(given, 2, 0)
        assert [int(feed["x"][0, 0]) for feed in opened.of([X])] == list(opened.indices or ())


def test_what_is_no_kind_of_inputs(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(UsageError, match=r"are \.npz, \.npy or \.jsonl"):
        open_feeds(tmp_path / "x.csv")
    with pytest.raises(UsageError, match="no such file or folder"):
        open_feeds(tmp_path / "none")
