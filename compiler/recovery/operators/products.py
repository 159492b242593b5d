"""Matrix products, and the recurrent networks that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from regc.compiler.recovery.operators.call import Call, Given, Operator, UnsupportedError


def _gemm(call: Call, a: Tensor, b: Tensor, c: Given = None) -> Tensor:
    a = a.t() if call.get("transA", 0) else a
    b = b.t() if call.get("transB", 0) else b
    product = call.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + call.get("beta", 1.0) * c


def _einsum(call: Call, *inputs: Tensor) -> Tensor:
    return torch.einsum(call["equation"].replace(" ", ""), *inputs)


def _fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    if call.get("transBatchA", 0) or call.get("transBatchB", 0):
        raise UnsupportedError("FusedMatMul with its batch in another place")
    a = a.transpose(-1, -2) if call.get("transA", 0) else a
    b = b.transpose(-1, -2) if call.get("transB", 0) else b
    return call.get("alpha", 1.0) * (a @ b)


_State = tuple[Tensor, ...]
_Step = Callable[[Tensor, _State, Tensor, Tensor | None], _State]


def _lstm(x: Tensor, state: _State, recurrent: Tensor, _: Tensor | None) -> _State:
    """One step; ``x`` has the four gates' products with the inputs, in the order of ONNX."""
    hidden, cell = state
    i, o, f, c = (x + hidden @ recurrent.t()).chunk(4, -1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(c)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _gru(x: Tensor, state: _State, recurrent: Tensor, bias: Tensor | None, *, before_reset: bool) -> _State:
    (hidden,) = state
    wz, wr, wh = recurrent.chunk(3)
    xz, xr, xh = x.chunk(3, -1)
    bz, br, bh = bias.chunk(3) if bias is not None else (0.0, 0.0, 0.0)
    z = torch.sigmoid(xz + hidden @ wz.t() + bz)
    r = torch.sigmoid(xr + hidden @ wr.t() + br)
    inner = r * (hidden @ wh.t() + bh) if before_reset else (r * hidden) @ wh.t() + bh
    return ((1 - z) * torch.tanh(xh + inner) + z * hidden,)


def _rnn(x: Tensor, state: _State, recurrent: Tensor, _: Tensor | None) -> _State:
    return (torch.tanh(x + state[0] @ recurrent.t()),)


def _check_plain(call: Call, activations: Sequence[str], lengths: Given, peephole: Given = None) -> None:
    """Refuse what hardly any exporter writes."""
    given = list(call.get("activations") or activations)
    plain = [name.lower() for name in given] == [name.lower() for name in activations] * (
        len(given) // len(activations)
    )
    if not plain or call.get("clip") or call.get("layout", 0) or call.get("input_forget", 0):
        raise UnsupportedError("a recurrent network with options of its own")
    if lengths is not None or peephole is not None:
        raise UnsupportedError("a recurrent network with lengths or peepholes")


def _run(call: Call, x: Tensor, w: Tensor, r: Tensor, b: Given, states: Sequence[Given], step: _Step) -> list[Tensor]:
    """All directions over the sequence: the outputs ``[seq, directions, batch, hidden]``, then the last states."""
    length, batch, hidden = x.shape[0], x.shape[1], call["hidden_size"]
    directions = []
    for index in range(w.shape[0]):
        backward = call.get("direction", "forward") == "reverse" or index == 1
        start = tuple(s[index] if s is not None else x.new_zeros(batch, hidden) for s in states)
        inward, inner = b[index].chunk(2) if b is not None else (None, None)
        gates = x @ w[index].t() + (inward if inward is not None else 0.0)
        outputs = []
        for place in range(length)[:: -1 if backward else 1]:
            start = step(gates[place], start, r[index], inner)
            outputs.append(start[0])
        directions.append((torch.stack(outputs[::-1] if backward else outputs), start))
    last = [torch.stack(parts) for parts in zip(*(state for _, state in directions), strict=True)]
    return [torch.stack([outputs for outputs, _ in directions], 1), *last]


def _lstm_node(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Given = None,
    lengths: Given = None,
    hidden: Given = None,
    cell: Given = None,
    peephole: Given = None,
) -> tuple[Tensor, ...]:
    _check_plain(call, ("Sigmoid", "Tanh", "Tanh"), lengths, peephole)
    return tuple(_run(call, x, w, r, _joined(b), (hidden, cell), _lstm))


def _gru_node(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Given = None, lengths: Given = None, hidden: Given = None
) -> tuple[Tensor, ...]:
    _check_plain(call, ("Sigmoid", "Tanh"), lengths)
    before_reset = bool(call.get("linear_before_reset", 0))

    def step(x: Tensor, state: _State, recurrent: Tensor, bias: Tensor | None) -> _State:
        return _gru(x, state, recurrent, bias, before_reset=before_reset)

    return tuple(_run(call, x, w, r, b, (hidden,), step))


def _rnn_node(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Given = None, lengths: Given = None, hidden: Given = None
) -> tuple[Tensor, ...]:
    _check_plain(call, ("Tanh",), lengths)
    return tuple(_run(call, x, w, r, _joined(b), (hidden,), _rnn))


def _joined(bias: Given) -> Given:
    """Both biases in the place of the first: where they are only added up."""
    if bias is None:
        return None
    first, second = bias.chunk(2, -1)
    return torch.cat([first + second, torch.zeros_like(second)], -1)


OPERATORS: dict[str, Operator] = {
    "Einsum": _einsum,
    "GRU": _gru_node,
    "Gemm": _gemm,
    "LSTM": _lstm_node,
    "MatMul": lambda call, a, b: torch.matmul(a, b),
    "RNN": _rnn_node,
    "com.microsoft::FusedMatMul": _fused_matmul,
}
