# Every target sets up .venv itself when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-arithmetic test-slow test-faults test-lowest lint docs linkcheck pictures notebooks bench clean

demo: $(STAMP)
	$(BIN)/temperax temper motorcycle --likelihood heteroscedastic --min-scale 0.1 --hidden 10 --target-acceptance 0.97 --chains 2 --draws 512 --out demo --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not faults"

# The quick tests whatever JAX's arithmetic: in 64 bits, and with strict types, stopped at every NaN and at leaked tracers.
ARITHMETIC ?= JAX_ENABLE_X64=1 JAX_NUMPY_DTYPE_PROMOTION=strict,JAX_DEBUG_NANS=1,JAX_CHECK_TRACER_LEAKS=1
TESTS ?= tests
test-arithmetic: $(STAMP)
	@for settings in $(ARITHMETIC); do echo $$settings; env $$(echo $$settings | tr , ' ') $(BIN)/python -m pytest -m "not slow and not faults" --dist=load $(TESTS) || exit 1; done

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not faults"

test-faults: $(STAMP)
	$(BIN)/python -m pytest -m faults --numprocesses=0

# The oldest versions that pyproject.toml allows, in an environment of their own; needs uv (pip knows no such resolution).
test-lowest:
	uv venv --clear --python $(PYTHON) .venv-lowest
	uv pip install --python .venv-lowest --resolution lowest-direct --editable . --group dev
	.venv-lowest/bin/python -m pytest -m "not slow and not faults" tests/samplers/test_exact.py tests/results tests/energies tests/storage

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "The site is in docs/_build/html/index.html."

linkcheck: $(STAMP)
	$(BIN)/sphinx-build -b linkcheck -q docs docs/_build/linkcheck

pictures: $(STAMP)
	$(BIN)/python docs/pictures.py

notebooks: $(STAMP)
	$(BIN)/python notebooks/execute.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks.uci benchmarks/uci/configs/quick.toml --json bench.json

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 12) or sys.exit(f"temperax needs Python 3.12 or newer, and $(PYTHON) is {v.major}.{v.minor}: name another one, as in make PYTHON=python3.13 test")'
	@echo "Setting up $(VENV), once: a virtual environment with temperax and its tools."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@echo "Installing JAX, NumPyro, ArviZ and the tools of development: some 1.2 GB, a minute or two."
	$(BIN)/python -m pip install --editable . --group dev --group docs
	@touch $@

clean:
	rm -rf $(VENV) .venv-lowest demo bench.json docs/_build docs/api/*.rst docs/made .pytest_cache .mypy_cache .ruff_cache
