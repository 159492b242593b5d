"""Our declarations of ONNX Runtime's C ABI against an official header, wherever one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "runtime_ops" / "csrc"
HEADER = "onnxruntime_c_api.h"
ROOTS = ("/usr/include", "/usr/local/include", "/opt/homebrew/include")

CHECK = """
#include <onnxruntime_c_api.h>
#include "abi/ort_abi.h"
#define REGC_ORT_ENTRY(position, name, result, parameters) \\
  static_assert(offsetof(OrtApi, name) == (position) * sizeof(void*), #name);
#include "abi/ort_entries.inc"
#define REGC_CUSTOM_OP_FIELD(name, result, parameters) \\
  static_assert(offsetof(OrtCustomOp, name) == offsetof(regc::abi::CustomOp, name), #name);
#include "abi/custom_op_fields.inc"
static_assert(offsetof(OrtApi, KernelContext_GetScratchBuffer) == regc::abi::kScratchEntry * sizeof(void*));
static_assert(offsetof(OrtApiBase, GetApi) == offsetof(regc::abi::ApiBase, GetApi));
static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(regc::abi::ApiBase, GetVersionString));
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT == static_cast<int>(regc::abi::kFloat));
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 == static_cast<int>(regc::abi::kUInt8));
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 == static_cast<int>(regc::abi::kInt64));
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 == static_cast<int>(regc::abi::kFloat16));
static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 == static_cast<int>(regc::abi::kBFloat16));
static_assert(OrtMemTypeCPUInput == static_cast<int>(regc::abi::kHostInput));
static_assert(OrtMemTypeDefault == static_cast<int>(regc::abi::kProviderMemory));
static_assert(ORT_FAIL == static_cast<int>(regc::abi::kFail));
static_assert(ORT_INVALID_ARGUMENT == static_cast<int>(regc::abi::kInvalidArgument));
static_assert(ORT_API_VERSION >= regc::abi::kApiVersion);
"""


def official_header() -> Path | None:
    """The installed header; ``REGC_ORT_INCLUDE`` may name its folder."""
    named = os.environ.get("REGC_ORT_INCLUDE")
    found = (path for root in ([named] if named else ROOTS) for path in Path(root).rglob(HEADER))
    return next(found, None)


def test_positions_match_the_official_header(tmp_path: Path) -> None:
    header, compiler = official_header(), shutil.which("c++")
    if header is None or compiler is None:
        pytest.skip(f"no {HEADER} under {', '.join(ROOTS)} (Debian: libonnxruntime-dev), or no C++ compiler")
    source = tmp_path / "check.cpp"
    source.write_text(CHECK, encoding="utf-8")
    command = [compiler, "-std=c++17", "-fsyntax-only", f"-I{header.parent}", f"-I{SOURCES}", str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
