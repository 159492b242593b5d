import numpy as np
import pytest

from regc.compiler.terms import Dense, Leaf, Product, Separable, Sum, Term, relative_error


def dense(rows: int, columns: int, seed: int = 0) -> Dense:
    return Dense(np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32))


def test_product_and_sum_nest() -> None:
    a, b, c = dense(5, 2), dense(2, 7, 1), dense(5, 7, 2)
    term = Sum(Product(a, b), c)
    np.testing.assert_allclose(term.dense(), a.values @ b.values + c.values, rtol=1e-6)
    assert term.shape == (5, 7)
    assert term.nbytes == 4 * (10 + 14 + 35)
    assert term.work == 10 + 14 + 35
    assert list(term.leaves()) == [a, b, c]
    assert term.label == "(rank 2 (float32 x float32) + float32)"


def test_a_separable_kernel_is_the_sum_over_the_channels_in_between() -> None:
    first, second = dense(4, 3 * 5), dense(3, 2 * 7, 1)
    term = Separable(first, second, (7, 5))
    kernel = np.einsum("nrw,rch->nchw", first.values.reshape(4, 3, 5), second.values.reshape(3, 2, 7))
    np.testing.assert_allclose(term.dense(), kernel.reshape(4, -1), rtol=1e-5, atol=1e-6)
    assert (term.shape, term.rank, term.work) == ((4, 70), 3, 60 + 42)
    doubled = term.map_leaves(lambda leaf, path: Dense(leaf.dense() * np.float32(2)))
    np.testing.assert_allclose(doubled.dense(), 4 * term.dense(), rtol=1e-5)


def test_map_leaves_names_each_leaf_and_keeps_what_stays() -> None:
    term = Sum(Product(dense(3, 2), dense(2, 4)), dense(3, 4))
    paths: list[str] = []

    def keep(leaf: Leaf, path: str) -> Term:
        paths.append(path)
        return leaf

    assert term.map_leaves(keep) is term
    assert paths == ["A.A", "A.B", "B"]


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="cannot multiply"):
        Product(dense(3, 2), dense(3, 2))
    for kernel in ((3, 2), (2, 4)):
        with pytest.raises(ValueError, match="is no kernel of"):
            Separable(dense(4, 6), dense(3, 8), kernel)
    with pytest.raises(ValueError, match="cannot add"):
        Sum(dense(3, 2), dense(2, 3))


def test_bytes_follow_the_type_of_the_original() -> None:
    assert Dense(np.zeros((4, 4), np.float32), np.dtype(np.float16)).nbytes == 32


def test_relative_error() -> None:
    weight = np.array([[3.0, 4.0]], np.float32)
    assert relative_error(Dense(np.zeros((1, 2), np.float32)), weight) == 1.0
    assert relative_error(Dense(np.zeros((1, 2), np.float32)), np.zeros((1, 2), np.float32)) == 0.0
