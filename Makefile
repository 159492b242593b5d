# Everything a new machine needs is installed into .venv by these targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml $(shell find compiler passes runtime_ops -type f -not -name '*.pyc' -not -path '*/__pycache__*')

NATIVE := cmake -S runtime_ops/csrc -DREGC_TESTS=ON -DREGC_CUDA=OFF
SANITIZED := $(addprefix tests/runtime_ops/test_,convolutions.py malformed_convolutions.py gather.py fuzz.py) \
  -k "not changed_operands"
PRELOAD = $(shell c++ -print-file-name=libasan.so) $(shell c++ -print-file-name=libubsan.so)

.PHONY: demo test bench lint clean compatibility sanitize sanitize-address sanitize-thread neon

$(INSTALLED): $(SOURCES)
	@echo "installing regc and what it is developed with into $(VENV): a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet ".[dev]"
	touch $@

demo: $(INSTALLED)  ## compress a real trained model, score it, time it, and write a report
	$(BIN)/python -m benchmarks.demo

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest -n 2

lint: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p regc.compiler -p regc.passes -p regc.runtime_ops

bench: $(INSTALLED)  ## operators beside what stock ONNX Runtime offers, as a table, JSON and a picture in build/bench
	mkdir -p build/bench
	$(BIN)/python -m benchmarks.kernels --json build/bench/kernels.json
	$(BIN)/python -m benchmarks.summary build/bench/kernels.json --plot build/bench/kernels.svg

compatibility: $(INSTALLED)  ## one build of the operator library in onnxruntime 1.17, 1.20, 1.23 and the newest
	$(BIN)/python -m benchmarks.compatibility

sanitize: sanitize-address sanitize-thread  ## kernels and operators under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer (g++)

# Products run in a stand-in for ONNX Runtime (operators_test), the other operators in it: under AddressSanitizer a session
# of ONNX Runtime takes long.
sanitize-address: $(INSTALLED)
	$(NATIVE) -B build/address -DREGC_SANITIZE=address,undefined
	cmake --build build/address -j2
	build/address/kernels_test 25
	build/address/operators_test 2
	build/address/cuda_test 4  # ASan warns of fibers: with them it may see what is not there, but does not so far
	REGC_OPS_LIBRARY=$(CURDIR)/build/address/libregc_ops.so LD_PRELOAD="$(PRELOAD)" ASAN_OPTIONS=detect_leaks=0 \
	  $(BIN)/python -m pytest -q $(SANITIZED)

sanitize-thread:
	$(NATIVE) -B build/thread -DREGC_SANITIZE=thread
	cmake --build build/thread -j2 --target kernels_test operators_test
	build/thread/kernels_test 25
	build/thread/operators_test 2

neon:  ## the library for 64-bit Arm, its kernels run in an emulator (Debian: g++-aarch64-linux-gnu, qemu-user); says nothing about speed
	$(NATIVE) -B build/neon -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/tests/native/aarch64-linux.cmake
	cmake --build build/neon -j2
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/neon/kernels_test 50
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/neon/operators_test 2
	qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a57 build/neon/kernels_test 5  # without the dot product

clean:
	rm -rf $(VENV) build demo
