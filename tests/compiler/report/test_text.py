import math

import pytest

from regc.compiler.report import text


def test_made_up_names_give_way_to_those_of_nodes() -> None:
    assert text.known_as("onnx::MatMul_712", ["/q/MatMul"]) == "/q/MatMul"
    assert text.known_as("17", ["/q/MatMul"]) == "/q/MatMul"
    assert text.known_as("fc.weight", ["/q/MatMul"]) == "fc.weight"
    assert text.known_as("17", []) == "17"


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
