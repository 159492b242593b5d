from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from regc.compiler import cpu, doctor
from regc.compiler.cli import main
from regc.compiler.doctor import KERNELS, Finding, examine
from regc.runtime_ops.ops import OPERATORS


def found(subject: str) -> Finding:
    return next(finding for finding in examine() if finding.subject == subject)


def test_all_is_well_here() -> None:
    findings = list(examine())
    assert [finding for finding in findings if finding.ok is False] == []
    assert {finding.subject for finding in findings} >= {"python", *doctor.PACKAGES, "library", *KERNELS}
    assert found("onnxruntime").words == onnxruntime.__version__
    assert "bit for bit" in found("TernaryMatMul").words


def test_every_operator_with_a_kernel_is_tried() -> None:
    bases = {name for name, operator in OPERATORS.items() if operator.base is None}
    assert set(KERNELS) == {name for name in bases if not name.endswith("Decode")}


@pytest.mark.parametrize("name", KERNELS)
def test_the_example_runs_the_kernel_with_the_library_and_the_body_without(name: str) -> None:
    rng = np.random.default_rng(0)
    operands = KERNELS[name][0](rng)
    bare = doctor._model(name, operands, with_body=False)
    with pytest.raises(Exception, match=name):
        onnxruntime.InferenceSession(bare, providers=["CPUExecutionProvider"])
    body = doctor._run(name, operands, np.ones((2, doctor.INPUTS), np.float32), library=False)
    assert body.shape == (2, doctor.OUTPUTS)
    assert np.ptp(body) > 1


def test_a_missing_library_is_found_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(tmp_path / "none.so"))
    assert found("library").ok is False
    assert "none.so" in found("library").words
    outcome = CliRunner().invoke(main, ["doctor"], env={"COLUMNS": "100"})
    assert outcome.exit_code == 1
    assert "WRONG" in outcome.output
    assert "pip install" in outcome.output


def test_the_library_for_gpus_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_CUDA_OPS_LIBRARY", str(tmp_path / "none.so"))
    assert found("cuda library").ok is None
    assert "none.so, which is not a file" in found("cuda library").words


def test_a_library_that_is_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.so").write_bytes(b"\x7fELF but not really")
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(tmp_path / "bad.so"))
    assert found("library").ok is False


def test_a_kernel_that_disagrees_with_its_body_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = doctor._run

    def wrong(name: str, operands: doctor.Operands, x: np.ndarray, library: bool) -> np.ndarray:
        return honest(name, operands, x, library) + np.float32(library)

    monkeypatch.setattr(doctor, "_run", wrong)
    finding = found("TernaryMatMul")
    assert finding.ok is False
    assert "differ by 1, 0 is allowed" in finding.words
    assert finding.remedy


def test_the_bound_on_instruction_sets_is_told_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_ISA", "generic")
    assert found("instructions").words.endswith("bounded to generic by REGC_ISA")
    with doctor._bounded_by("avx2"):
        assert doctor.os.environ["REGC_ISA"] == "avx2"
    assert doctor.os.environ["REGC_ISA"] == "generic"
    monkeypatch.delenv("REGC_ISA")
    list(examine())
    assert "REGC_ISA" not in doctor.os.environ


def test_instruction_sets_follow_the_flags_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert doctor._instruction_sets() == ("generic",)
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: sse4_2 avx2 fma avx512f\n")
    assert doctor._instruction_sets() == ("generic", "avx2")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\n")
    assert doctor._instruction_sets() == ("generic", "neon")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A CPU: fast\n")
    assert cpu.name() == "A CPU: fast"


def test_a_package_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package-here",))
    assert found("no-such-package-here") == Finding(
        "no-such-package-here", "is not installed", False, "pip install no-such-package-here"
    )


def test_what_the_fallback_writes_is_run() -> None:
    finding = doctor._fallback()
    assert finding.ok, finding
    assert "2 bits are loaded, outputs within 0." in finding.words


@pytest.mark.parametrize(("version", "ok"), [("1.23.2", None), ("1.24.0", False), ("1.32.1", False)])
def test_a_fallback_that_does_not_load_is_wrong_where_it_should(
    monkeypatch: pytest.MonkeyPatch, version: str, ok: bool | None
) -> None:
    def fails() -> float:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(doctor.fallback, "relative_error", fails)
    monkeypatch.setattr(onnxruntime, "__version__", version)
    finding = doctor._fallback()
    assert finding.ok is ok
    assert ("no such operator" in finding.words) == (ok is False)


def test_a_fallback_that_is_far_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.fallback, "relative_error", lambda: 0.5)
    assert doctor._fallback() == Finding(
        "fallback matmulnbits", "outputs are off by 50.0%, 3% is allowed", False, "leave --fallback out"
    )
