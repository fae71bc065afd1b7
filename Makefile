# make demo    train a small denoiser on the CPU and denoise photographs it has not seen
# make test    lint, types and tests (at most 15 minutes on two cores)
# make proof   the certificate against PyTorch and the long tests (at most 25 minutes)
# make bench   time and memory against PyTorch
# make lint    ruff and mypy alone
# make docs-figures   draw the pictures of docs/figures again
# make clean   remove what these commands made, but not runs/

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
RUNS ?= runs

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
CONFIG := setup.cfg pyproject.toml

.PHONY: demo test proof lint bench docs-figures clean
.DELETE_ON_ERROR:

# ------------------------------------------------------------------ environments
# Each stamp is a file in the environment, so that a second call installs nothing.

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $(VENV)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { echo "the environment could not be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-venv $(CONFIG)
	@echo "installing minigrad-zoo[plots] into $(VENV)"
	@$(PIP) -e '.[plots]'
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-venv $(CONFIG)
	@echo "installing $(TORCH), then minigrad-zoo[validation,dev] into $(VENV)"
	@$(PIP) '$(TORCH)'
	@$(PIP) -e '.[validation,dev]'
	@touch $@

# ------------------------------------------------------------------ the main job

demo: $(VENV)/.stamp-demo
	@$(PY) -m zoo demo --runs $(RUNS)

# ------------------------------------------------------------------ checks

lint: $(VENV)/.stamp-test
	@$(PY) -m ruff check .
	@$(PY) -m mypy

test: lint
	@$(PY) -m pytest -m "not proof and not gpu" -q

proof: $(VENV)/.stamp-test
	@$(PY) -m validation layers
	@$(PY) -m validation models
	@$(PY) -m validation training
	@MINIGRAD_PROOF=1 $(PY) -m pytest -m "proof and not gpu" -q --hypothesis-profile=proof --timeout=900

bench: $(VENV)/.stamp-test
	@$(PY) -m validation bench

docs-figures: $(VENV)/.stamp-test
	@$(PY) -m docs.figures

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find minigrad zoo validation tests -name __pycache__ -type d -prune -exec rm -rf {} +
