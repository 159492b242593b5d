"""From a model and some inputs to a recovered one."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from regc.compiler import Calibration, CompileResult, Progress, Recover, RegcError, UsageError, compile_model
from regc.compiler.cli.compiling import compile_command
from regc.compiler.model import Model
from regc.compiler.model import from_proto as load_proto
from regc.compiler.recovery import train
from regc.compiler.recovery.tokens import Tokens
from support import Array, model, normal, op_types, run

RESIDUAL = """g (float[n, 48] x) => (float[n, 24] y) {
    a = MatMul (x, w1)
    b = Add (a, bias)
    c = Relu (b)
    d = MatMul (c, w2)
    e = Add (d, x)
    f = LayerNormalization (e, scale, shift)
    h = MatMul (f, w3)
    k = Add (h, f)
    y = Gemm <transB = 1> (k, w4, last)
}"""
WEIGHTS: dict[str, Array] = {
    "w1": normal(96, 48).T.copy(),
    "w2": normal(48, 96, seed=1).T.copy(),
    "w3": normal(48, 48, seed=2),
    "w4": normal(24, 48, seed=3),
    "bias": normal(96, seed=4) * 3,
    "scale": np.linspace(0.5, 1.5, 48, dtype=np.float32),
    "shift": normal(48, seed=5),
    "last": normal(24, seed=6),
}
FEEDS = [{"x": normal(40, 12, seed=seed) @ normal(12, 48, seed=9) * 20} for seed in range(6)]
FRESH = {"x": normal(60, 12, seed=77) @ normal(12, 48, seed=9) * 20}
STEPS = Recover(steps=48, batch=16, rate=0.012)


def compiled(
    proto: onnx.ModelProto | Model, passes: str = "ternary{group=16,method=lloyd}", **options: Any
) -> CompileResult:
    return compile_model(proto, passes, calibration=FEEDS, **options)


def error(original: onnx.ModelProto, result: CompileResult) -> float:
    """The relative error of the outputs on inputs that nobody has seen."""
    proto = result.model.to_proto()
    onnx.checker.check_model(proto)
    y, z = run(original, FRESH)[0], run(proto, FRESH)[0]
    return float(np.linalg.norm(z - y) / np.linalg.norm(y - y.mean(0)))


@pytest.mark.parametrize(
    ("passes", "share"),
    [
        ("ternary{group=16,method=lloyd}", 0.8),
        ("ternary{group=16,method=lloyd,act=float32}", 0.8),
        ("low-rank{ratio=4}", 0.8),
        ("low-rank{ratio=2},ternary{method=lloyd}", 0.9),
        ("group-sparse{sparsity=0.75,scope=weight}", 0.9),
        ("group-sparse{sparsity=0.75,scope=weight},rf8", 0.9),
        ("neuron-mask{sparsity=0.6,force=true},ternary{group=16,method=lloyd}", 0.8),
    ],
)
def test_a_recovered_model_is_nearer_to_the_original(passes: str, share: float) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    plain, recovered = compiled(proto, passes), compiled(proto, passes, recover=STEPS)
    assert recovered.recovered is not None and recovered.recovered.worth
    assert recovered.recovered.after < recovered.recovered.before
    assert op_types(recovered.model.to_proto()) == op_types(plain.model.to_proto())
    assert [r.nbytes_after for r in recovered.records] == [r.nbytes_after for r in plain.records]
    assert {r.recovery for r in recovered.records if r.changed} == {"trained"}
    assert error(proto, recovered) < share * error(proto, plain)


def test_the_original_teaches_a_model_that_lost_units() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    plain, recovered = (
        compiled(proto, "neuron-mask{keep=0.4,score=magnitude,compensate=false}", recover=options)
        for options in (None, STEPS)
    )
    assert recovered.recovered is not None and recovered.recovered.worth
    assert recovered.recovered.weights == 4
    assert [(units.units, units.kept) for units in recovered.units if units.changed] == [(96, 38)]
    assert op_types(recovered.model.to_proto()) == op_types(plain.model.to_proto())
    assert error(proto, recovered) < 0.7 * error(proto, plain)


@pytest.mark.parametrize("given", ["proto", "model"])
def test_what_lost_units_may_be_coded_too(given: str) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    opened = load_proto(proto) if given == "model" else proto
    passes = "neuron-mask{keep=0.5},ternary{group=16,method=lloyd,include=w1}"
    plain, recovered = compiled(proto, passes), compiled(opened, passes, recover=STEPS)
    assert {r.info.name for r in recovered.records if r.recovery == "trained"} == {"w1"}
    assert recovered.recovered is not None and recovered.recovered.weights == 4
    assert error(proto, recovered) < 0.9 * error(proto, plain)


@pytest.mark.parametrize("method", ["gptq", "mean"])
def test_ternary_weights_end_at_the_same_place_whatever_the_passes_began_with(method: str) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    results = [compiled(proto, f"ternary{{group=16,method={m}}}", recover=STEPS) for m in (method, "lloyd")]
    first, second = (result.recovered for result in results)
    assert first is not None and second is not None
    assert first.after == second.after and first.before != second.before


def test_biases_and_norms_are_trained_too() -> None:
    result = compiled(model(RESIDUAL, **WEIGHTS), recover=STEPS)
    after = {t.name: onnx.numpy_helper.to_array(t) for t in result.model.to_proto().graph.initializer}
    assert not np.array_equal(after["scale"], WEIGHTS["scale"])
    assert np.abs(after["scale"] - WEIGHTS["scale"]).max() < 0.5


def test_a_number_of_steps_is_repeatable() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    first, second = (compiled(proto, recover=STEPS).model.to_proto().graph for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_the_report_tells_of_it() -> None:
    report = compiled(model(RESIDUAL, **WEIGHTS), recover=STEPS).report
    assert "recovery" in str(report) and "on held-out samples; 4 weights, 48 steps" in str(report)
    assert '"taken": true' in report.to_json()
    assert "<h2>Recovery</h2>" in report.to_html()


def test_training_that_does_not_help_is_not_taken() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    wild = compiled(proto, "ternary{group=16}", recover=Recover(steps=2, rate=1e3))
    others, _, _ = Calibration(FEEDS).apart(load_proto(proto), share=STEPS.held_out, seed=0)
    plain = compile_model(proto, "ternary{group=16}", calibration=others)
    assert wild.calibration is not None and "6 feeds given without 29 held-out samples" in wild.calibration
    assert wild.recovered is not None and not wild.recovered.worth
    assert "no better" in wild.recovered.words
    assert error(proto, wild) == error(proto, plain)


def test_weights_behind_an_unknown_operator_are_left_and_the_reason_told() -> None:
    text = """g (float[n, 48] x) => (float[n, 24] y) {
        a = MatMul (x, w1)
        c = Relu (a)
        d = MatMul (c, w2)
        s = Constant <value_ints: ints = [2]> ()
        e = Unsqueeze (d, s)
        f = MeanVarianceNormalization <axes = [1]> (e)
        k = Squeeze (f, s)
        y = Gemm <transB = 1> (k, w4, last)
    }"""
    used = {name: WEIGHTS[name] for name in ("w1", "w2", "w4", "last")}
    recovered = compiled(model(text, **used), recover=STEPS).recovered
    assert recovered is not None and recovered.weights == 2
    assert recovered.left == {"w4": "recovery does not know the operator MeanVarianceNormalization"}


def test_weights_in_subgraphs_are_trained() -> None:
    text = """g (bool c, float[n, 48] x) => (float[n, 48] y) {
        y = If (c) <
            then_branch = t () => (float[n, 48] a) { b = MatMul (x, w1) r = Relu (b) a = MatMul (r, w2) },
            else_branch = e () => (float[n, 48] d) { d = Identity (x) }
        >
    }"""
    proto = model(text, w1=WEIGHTS["w1"], w2=WEIGHTS["w2"])
    feeds = [{"c": np.array(True), **feed} for feed in FEEDS]
    result = compile_model(proto, "ternary{group=16,method=lloyd}", calibration=feeds, recover=Recover(steps=32))
    assert result.recovered is not None
    assert result.recovered.weights == 2 and result.recovered.after < result.recovered.before


def test_convolutions_are_trained() -> None:
    text = """g (float[n, 16, 9, 9] x) => (float[n, 32, 5, 5] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, k1, b1)
        r = Relu (a)
        y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, k2)
    }"""
    weights = {"k1": normal(32, 16, 3, 3), "b1": normal(32), "k2": normal(32, 32, 3, 3)}
    feeds = [{"x": normal(16, 16, 9, 9, seed=seed)} for seed in range(3)]
    options = {"calibration": feeds, "recover": Recover(steps=32, batch=8)}
    result = compile_model(model(text, **weights), "ternary{method=lloyd}", **options)  # type: ignore[arg-type]
    assert result.recovered is not None and result.recovered.after < 0.9 * result.recovered.before
    assert any("TernaryConv" in record.emitted for record in result.records)


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_SAVE_EVERY", 0.0)
    proto, path, seen = model(RESIDUAL, **WEIGHTS), tmp_path / "state.npz", list[int]()
    options = dataclasses.replace(STEPS, checkpoint=path)

    def interrupt(progress: Progress) -> None:
        if progress.stage == "recover":
            seen.append(progress.done)
            if progress.done >= 500:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled(proto, recover=options, callback=interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    first = len(seen)
    result = compiled(proto, recover=options, callback=lambda p: seen.append(p.done) if p.stage == "recover" else None)
    assert len(seen) - first == 48 - first
    assert result.recovered is not None and result.recovered.steps == 48
    assert result.recovered.after < result.recovered.before


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    path.write_text("no")
    with pytest.raises(UsageError, match="is no checkpoint of a recovery"):
        compiled(model(RESIDUAL, **WEIGHTS), recover=dataclasses.replace(STEPS, checkpoint=path))


def test_without_inputs_or_without_pytorch_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    with pytest.raises(UsageError, match="give some by --calibration"):
        compile_model(proto, "ternary", recover=STEPS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RegcError, match=r'pip install "regc\[recover\]"'):
        compiled(proto, recover=STEPS)


def test_a_model_of_which_nothing_can_be_trained_says_why() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    with pytest.raises(RegcError, match="has no form that can be trained"):
        compiled(proto, "int{bits=8}", recover=STEPS)


def test_pytorch_is_not_imported_unless_asked_for() -> None:
    code = (
        "import sys, regc.compiler.cli.compiling, regc.compiler.job, regc.compiler as c, regc.passes as p\n"
        "c.Recover, c.compile_model, p.Ternary, p.RF8, p.GroupSparse, p.LowRank\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3min", Recover(minutes=3)),
        ("90s", Recover(minutes=1.5)),
        ("0.5h", Recover(minutes=30)),
        ("400steps", Recover(steps=400)),
        ("400 steps {mix=0.3, batch=8,outputs=logits}", Recover(steps=400, mix=0.3, batch=8, outputs="logits")),
        ("3min{held-out=0.2}", Recover(minutes=3, held_out=0.2)),
    ],
)
def test_budgets_as_text(text: str, expected: Recover) -> None:
    assert Recover.parse(text) == expected


@pytest.mark.parametrize("text", ["", "3", "min", "-3min", "0steps", "3 fortnights", "3min{mix=many}", "3min{steps=3}"])
def test_budgets_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="recover"):
        Recover.parse(text)


@pytest.mark.parametrize("options", [{}, {"minutes": 1, "steps": 1}, {"steps": 9, "rate": 0.0}, {"minutes": 1e999}])
def test_options_that_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="recovery"):
        Recover(**options)


def test_on_the_command_line(tmp_path: Path) -> None:
    onnx.save(model(RESIDUAL, **WEIGHTS), tmp_path / "m.onnx")
    np.savez(tmp_path / "inputs.npz", x=np.concatenate([feed["x"] for feed in FEEDS]))
    arguments = [
        str(tmp_path / "m.onnx"),
        "--passes",
        "ternary{group=16,method=lloyd}",
        "-o",
        str(tmp_path / "small.onnx"),
    ]
    arguments += ["--calibration", str(tmp_path / "inputs.npz"), "--mask", "x"][:2]
    done = CliRunner().invoke(compile_command, [*arguments, "--recover", "16steps"])
    assert done.exit_code == 0, done.output
    assert "on held-out samples" in done.output and (tmp_path / "small.onnx").exists()
    alone = CliRunner().invoke(compile_command, [*arguments, "--recover-checkpoint", "c.npz"])
    assert isinstance(alone.exception, UsageError)


def test_calibration_options_are_followed() -> None:
    calibration = Calibration(FEEDS, samples=2, threads=1)
    result = compile_model(
        model(RESIDUAL, **WEIGHTS), "ternary", calibration=calibration, recover=Recover(minutes=0.02)
    )
    assert result.recovered is not None and 0 < result.recovered.seconds < 30


def test_words_are_mixed_where_inputs_are_words() -> None:
    text = """g (int64[n, s] ids, int64[n, s] kinds) => (float[n, s, 48] y) {
        a = Gather (table, ids)
        b = Gather (few, kinds)
        c = Add (a, b)
        d = MatMul (c, w1)
        e = Relu (d)
        f = MatMul (e, w2)
        y = Add (f, c)
    }"""
    weights = {"table": normal(300, 48) * 5, "few": normal(2, 48), "w1": WEIGHTS["w1"], "w2": WEIGHTS["w2"]}
    proto, rng = model(text, **weights), np.random.default_rng(0)
    feeds = [{"ids": rng.integers(0, 20, (16, size)), "kinds": np.zeros((16, size), np.int64)} for size in (5, 5, 7)]
    for feed in feeds:
        feed["ids"][:, 0] = 33
    graph = load_proto(proto).graph
    tokens = Tokens.of(graph, feeds)
    assert tokens.rows == {"ids": 300} and tokens.few and tokens.marks["ids"].tolist() == [33]
    assert not Tokens.of(graph, [{"ids": np.arange(300).reshape(30, 10)}]).few
    mixed = tokens.mixed({name: torch.from_numpy(values) for name, values in feeds[0].items()}, 0.5, rng)
    changed = mixed["ids"].numpy() != feeds[0]["ids"]
    assert 0 < changed.mean() < 0.5 and not changed[:, 0].any() and not mixed["kinds"].any()
    assert not changed.any(axis=1).all()
    losses = []
    for mix in (0.0, None):
        options = Recover(steps=60, mix=mix, rate=0.012)
        passes = "ternary{method=lloyd,include=op:MatMul}"
        result = compile_model(proto, passes, calibration=feeds, recover=options).model.to_proto()
        every = {"ids": np.arange(300).reshape(30, 10), "kinds": np.zeros((30, 10), np.int64)}
        losses.append(np.linalg.norm(run(result, every)[0] - run(proto, every)[0]))
    assert losses[1] < losses[0]
