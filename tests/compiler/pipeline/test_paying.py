import pytest

from regc.compiler import compile_model
from regc.runtime_ops import ops
from support import Array, model, normal

PLAIN = "g (float[r,n] x) => (float[r,n] y) { y = MatMul(x, w) }"
WITH_RELU = "g (float[r,n] x) => (float[r,n] y) { h = MatMul(x, w) y = Relu(h) }"
WITH_SUM = "g (float[r,n] x, float[r,n] z) => (float[r,n] y) { h = MatMul(x, w) y = Add(h, z) }"


def definition(*operators: str) -> int:
    """Bytes of what a model needs beside the codes."""
    return sum(body.ByteSize() for body in ops.functions(set(operators), 17))


def just_paying() -> Array:
    """The smallest square weight for which RF8 is worth it where nothing follows the product."""
    weights = (normal(size, size) for size in range(24, 72, 2))
    return next(weight for weight in weights if compile_model(model(PLAIN, w=weight), "rf8").changed)


def test_what_saves_less_than_the_definition_of_its_operator_is_not_applied() -> None:
    weight = normal(24, 24)
    result = compile_model(model(PLAIN, w=weight), "rf8")
    assert not result.changed
    assert result.model.to_proto().functions == []
    assert f"less than the {definition('RF8MatMul'):,} of the operators' definition" in str(result.records[0].reason)


@pytest.mark.parametrize(("text", "ending"), [(WITH_RELU, "Relu"), (WITH_SUM, "Add")])
def test_what_follows_a_product_counts_with_the_operator_that_does_it(text: str, ending: str) -> None:
    result = compile_model(model(text, w=just_paying()), "rf8")
    assert not result.changed
    assert f"{definition(f'RF8MatMul{ending}'):,} of the operators'" in str(result.records[0].reason)


@pytest.mark.parametrize("text", [PLAIN, WITH_RELU, WITH_SUM])
def test_a_model_that_is_changed_gets_smaller(text: str) -> None:
    sizes = range(24, 72, 8)
    changed = 0
    for size in sizes:
        proto = model(text, w=normal(size, size))
        result = compile_model(proto, "rf8")
        changed += result.changed
        assert not result.changed or result.model.to_proto().ByteSize() < proto.ByteSize() + METADATA
    assert 0 < changed < len(sizes)


METADATA = 500
"""Bytes for what tells how a model was made, and for names of nodes."""
