# make demo    train a small denoiser on the CPU and denoise photographs it has not seen
# make test    lint, types and tests (at most 15 minutes on two cores)
# make proof   the certificate against PyTorch and the long tests (at most 25 minutes)
# make thorough   10,000 random examples of every property of every layer: hours
# make bench   time and memory against PyTorch
# make mutation   the mutation score of the layers (about an hour); goes on where it was stopped
# make lint    ruff and mypy alone
# make docs-figures   draw the pictures of docs/figures again
# make clean   remove what these commands made, but not runs/

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
RUNS ?= runs
PYTEST ?= -q
JOBS ?= 2
PROPERTIES := tests/test_against_torch.py tests/test_contract.py tests/test_adjoints.py tests/test_geometry.py

# Many threads on tiny arrays wait for each other; two are right for the tests' sizes.
export OMP_NUM_THREADS ?= 2
export OPENBLAS_NUM_THREADS ?= 2

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check
CONFIG := setup.cfg pyproject.toml

.PHONY: demo test proof thorough lint bench mutation docs-figures clean
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
	@out=$(RUNS)/demo; n=1; \
	while [ -e "$$out" ]; do n=$$((n + 1)); out=$(RUNS)/demo-$$n; done; \
	set -e; \
	echo "1/3 training on noisy pairs of the bundled photographs, into $$out"; \
	$(PY) -m zoo train n2n-demo --out "$$out"; \
	echo "2/3 denoising photographs that it has not seen"; \
	$(PY) -m zoo evaluate "$$out" --noise subpixel:8; \
	echo "3/3 drawing the curves and a before/after picture"; \
	$(PY) -m zoo report "$$out"

# ------------------------------------------------------------------ checks

lint: $(VENV)/.stamp-test
	@$(PY) -m ruff check .
	@$(PY) -m mypy

test: lint
	@$(PY) -m pytest -m "not proof and not gpu" $(PYTEST)

proof: export MINIGRAD_PROOF = 1
proof: $(VENV)/.stamp-test
	@$(PY) -m validation layers
	@$(PY) -m validation models
	@$(PY) -m validation training
	@$(PY) -m pytest -m "proof and not gpu" --hypothesis-profile=proof --timeout=900 -n $(JOBS) $(PYTEST)

# Hours: 10,000 examples of every property of every layer. What it found: docs/validation.md
thorough: export MINIGRAD_PROOF = 1
thorough: $(VENV)/.stamp-test
	@$(PY) -m pytest $(PROPERTIES) -m "proof and not gpu" --hypothesis-profile=thorough --timeout=0 -n $(JOBS) $(PYTEST)

bench: $(VENV)/.stamp-test
	@$(PY) -m validation bench

mutation: $(VENV)/.stamp-test
	@$(PY) -m validation mutation

docs-figures: $(VENV)/.stamp-test
	@test -e $(RUNS)/demo/before_after.png || $(MAKE) --no-print-directory demo
	@cp $(RUNS)/demo/before_after.png docs/figures/demo_before_after.png
	@if [ -d $(RUNS)/published ]; then \
	  $(PY) -m validation published --draw --out $(RUNS)/published; \
	else \
	  echo "left as they are: the figures of the published experiments; they need $(RUNS)/published," \
	    "made by: $(PY) -m validation published --data PHOTOGRAPHS --out $(RUNS)/published"; \
	fi

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find minigrad zoo validation tests -name __pycache__ -type d -prune -exec rm -rf {} +
