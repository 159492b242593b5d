from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.feeds import archives
from regc.compiler.feeds.inputs import Input, check_feeds, load_feeds

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
