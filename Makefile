# make run: decode text with a real model on the chip's RTL. make test: all tests. See README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROMPT ?= In the beginning
TOKENS ?= 24
MODEL ?= default
PRESET ?= desk
ARGS ?=

.PHONY: run test fast tools clean

run: $(VENV)/.run
	$(BIN)/poblano run --prompt "$(PROMPT)" --tokens $(TOKENS) --model "$(MODEL)" --preset "$(PRESET)" $(ARGS)

test: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist worksteal -q

fast: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist worksteal -q -m "not slow"

# Names the Debian package of a missing tool.
tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	@command -v g++ >/dev/null || { echo "g++ is missing: apt-get install g++"; exit 1; }
	@command -v perl >/dev/null || { echo "perl is missing: apt-get install perl"; exit 1; }

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q -e ".[test]"
	@touch $@ $(VENV)/.run

clean:
	rm -rf build $(VENV)
