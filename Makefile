# make run: decode text with a real model on the chip's RTL. make test: all tests. See README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROMPT := In the beginning
TOKENS := 24
MODEL := default
PRESET := desk
# Of run and serve; without PRESET the model's own.
MODEL_PRESET := $(if $(filter command,$(origin PRESET)),--preset "$(PRESET)")
BOARD := icebreaker
ARGS :=
PROPERTIES :=
BLOCK ?=
CONFIG ?=
SEED ?=
WAVES ?=
LIST ?=
RESULTS := build/run

# To the shell as it is, whatever characters it has.
override PROMPT := $(value PROMPT)
export PROMPT

.PHONY: run serve test fast nightly bench lint formal verilog fpga asic tools shared-python clean

run: $(VENV)/.run
	@mkdir -p $(RESULTS)
	@$(BIN)/poblano run --prompt "$$PROMPT" --tokens $(TOKENS) --model "$(MODEL)" $(MODEL_PRESET) \
	  --json $(RESULTS)/figures.json --trace $(RESULTS)/trace.json --report $(RESULTS)/report.html $(ARGS)

# A model behind OpenAI's API on port 8000: make serve MODEL=smollm2 ARGS="--backend golden".
serve: $(VENV)/.serve
	@$(BIN)/poblano serve --model "$(MODEL)" $(MODEL_PRESET) $(ARGS)

test: $(VENV)/.test shared-python
	$(BIN)/pytest -n 2 --dist worksteal -q

fast: $(VENV)/.test shared-python
	$(BIN)/pytest -n 2 --dist worksteal -q -m "not slow and not nightly"

nightly: $(VENV)/.test shared-python
	$(BIN)/pytest -n 2 --dist worksteal -q -m nightly

# One cocotb bench on one configuration: make bench BLOCK=vector CONFIG=desk SEED=3 WAVES=1. Lists them without BLOCK.
bench: $(VENV)/.test shared-python
	@nice $(BIN)/python -m tb.bench "$(BLOCK)" "$(CONFIG)" --seed "$(SEED)" $(if $(filter-out 0,$(WAVES)),--waves)

# Layout, lint and types of all Python; these are tests too.
lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# All proofs, covers and mutations, or those of PROPERTIES (files of formal/, or file/property). LIST=1 lists them;
# ARGS are the runner's options (--kind proof, --explain).
formal: $(VENV)/.test
	@nice $(BIN)/python -m formal.runner $(if $(filter-out 0,$(LIST)),--list) $(ARGS) $(PROPERTIES)

# Verilog of PRESET and all that an ASIC flow needs with it, in build/PRESET.
verilog: $(VENV)/.run
	$(BIN)/poblano verilog --preset "$(PRESET)" -o build/$(PRESET) $(ARGS)

# Standard cells of PRESET: area, critical path, power, in build/asic. Names the packages it needs.
asic: $(VENV)/.run
	@mkdir -p build/asic
	$(BIN)/poblano asic --preset "$(PRESET)" --json "build/asic/$(PRESET).json" --report "build/asic/$(PRESET).html" $(ARGS)

# A bitstream and its figures for a board; make fpga BOARD=icebreaker ARGS=--simulate checks the netlist's answers instead.
fpga: $(VENV)/.fpga
	$(BIN)/poblano fpga --board $(BOARD) $(ARGS)

# Names the Debian package of a missing tool.
tools:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	@command -v g++ >/dev/null || { echo "g++ is missing: apt-get install g++"; exit 1; }
	@command -v perl >/dev/null || { echo "perl is missing: apt-get install perl"; exit 1; }

# cocotb runs Python inside the simulation.
shared-python: $(VENV)/.test
	@$(BIN)/python -c 'import sys; from find_libpython import find_libpython; sys.exit(not find_libpython())' || \
	  { echo "Python's shared library is missing: apt-get install libpython3-dev"; exit 1; }

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.fpga: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e ".[fpga]"
	@touch $@ $(VENV)/.run

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e ".[test,serve,explore]"
	@touch $@ $(VENV)/.run $(VENV)/.serve

$(VENV)/.serve: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e ".[serve]"
	@touch $@

clean:
	rm -rf build $(VENV)
