# From a fresh clone on Debian 12:
#   make demo    install, then the main job on an embedded default (make demo ARGS=--asterisk: on real Asterisks)
#   make test    install, then every test                          (make test ARGS='-k parser -x')
# and for who changes the code:
#   make check   format, lint, types, then the tests
#   make lint    the same without the tests
#   make bench   measure, as root; about a quarter of an hour      (make bench ARGS=--quick)
#   make bench-faults   break real Asterisks under load, as root  (make bench-faults ARGS='--quick --only kill')
#   make .venv   only the virtual environment: .venv/bin/sipbalancer
#   make compiled       the same with its inner part compiled: .compiled/bin/sipbalancer; takes two minutes and gcc
#   make test-compiled  the tests of that part, on it
#   make lock    renew requirements/*.txt from pyproject.toml
#   make clean   remove what these made
# As root or with passwordless sudo they install the Debian packages they miss, else they name them.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Debian's own first: it is built with profile-guided optimisation, pyenv's is not and costs a quarter more of CPU per
# message (bench/README.md). Whoever can make a venv goes before who cannot yet.
PYTHON ?= $(shell for needs in ,venv,ensurepip ""; do \
	for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$p -c "import sys$$needs; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" 2>/dev/null && echo $$p && exit; \
	done; done)
PIP = $(BIN)/python $(INSTALL)
DEBIAN := demo
CODE = $(wildcard sipbalancer tests bench setup.py)
# Never the editable .venv: compiled modules beside edited sources would stand before them.
COMPILED := .compiled
COMPILER := .cache/compiler
INSTALL = -m pip --disable-pip-version-check install --quiet
# ip, nft and kamailio are there, and a plain user's PATH does not say so.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: demo test check lint bench bench-faults lock clean .venv dev programs compiled test-compiled
.DEFAULT_GOAL := .venv

demo: .venv
	@$(BIN)/sipbalancer demo $(ARGS)

# One apt-get for all, before the venv.
test bench-faults check: DEBIAN := test
bench: DEBIAN := bench
compiled: DEBIAN := compiled
test: dev programs
	@$(BIN)/python -m pytest -W error $(ARGS)

check: lint test

lint: dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)

bench-faults: dev programs
	@$(BIN)/python -m bench.faults.run $(ARGS)

bench: $(VENV)/.bench programs compiled
	@$(BIN)/python -m bench $(ARGS)

.venv: $(VENV)/.run

# pytest is the development environment's; the package before it on the path is the compiled one, for whatever the tests
# start too. SIPBALANCER_EXPECT makes sure of it (tests/conftest.py).
ON_COMPILED = PYTHONSAFEPATH=1 PYTHONPATH=$$(echo $(CURDIR)/$(COMPILED)/lib/python*/site-packages):$(CURDIR) \
	SIPBALANCER_EXPECT=compiled
test-compiled: dev compiled
	@$(ON_COMPILED) $(BIN)/python -m pytest -W error -o pythonpath= -m 'not interpreted' $(ARGS) \
		tests/compiled tests/sip tests/flows tests/director tests/fuzz tests/torture tests/test_compiled.py \
		tests/daemon/test_main.py tests/daemon/test_worker.py tests/daemon/test_workers.py

dev: $(VENV)/.dev

compiled: $(COMPILED)/.made

programs:
	@PYTHON=$(PYTHON) sh requirements/debian.sh $(DEBIAN)

# A venv holds absolute paths: one that was moved, or whose Python is gone, is made anew.
ifneq ($(shell [ -x $(BIN)/python ] && cat $(VENV)/.home 2>/dev/null),$(CURDIR))
$(VENV)/.run: FORCE
FORCE:
endif
$(VENV)/.run: pyproject.toml requirements/build.txt requirements/run.txt
	@[ -n "$(PYTHON)" ] || { echo "make: needs Python 3.11, 3.12 or 3.13 (Debian: apt-get install python3)" >&2; exit 1; }
	@PYTHON=$(PYTHON) sh requirements/debian.sh $(DEBIAN)
	@echo "make: setting up $(VENV)" >&2
	@[ -x $(BIN)/python ] && [ "$$(cat $(VENV)/.home 2>/dev/null)" = "$(CURDIR)" ] || $(PYTHON) -m venv --clear $(VENV)
	@echo "$(CURDIR)" >$(VENV)/.home
	@$(PIP) --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "make: adding what the tests need" >&2
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

# What only the plots need.
$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	@$(PIP) --require-hashes -r requirements/bench.txt
	@touch $@

# Built in a folder that goes away, by a venv that has the compiler; what it makes is installed where only that and what
# it needs to run are. The stamp is as old as the copy, so that an edit meanwhile counts. SIPBALANCER_OPT_LEVEL=0 makes a
# slower program in less time, enough for tests.
$(COMPILER)/.made: requirements/build.txt requirements/run.txt requirements/compile.txt
	@PYTHON=$(PYTHON) sh requirements/debian.sh $(DEBIAN)
	@rm -rf $(COMPILER) && $(PYTHON) -m venv $(COMPILER)
	@$(COMPILER)/bin/python $(INSTALL) --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(COMPILER)/bin/python $(INSTALL) --require-hashes -r requirements/compile.txt
	@touch $@

$(COMPILED)/.made: $(COMPILER)/.made setup.py pyproject.toml $(shell find sipbalancer -type f -not -name '*.pyc')
	@echo "make: compiling into $(COMPILED), about two minutes" >&2
	@rm -rf $(COMPILED) && $(PYTHON) -m venv $(COMPILED)
	@$(COMPILED)/bin/python $(INSTALL) --require-hashes -r requirements/run.txt
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && touch "$$place/.made" && \
	cp -r setup.py pyproject.toml README.md sipbalancer "$$place" && \
	SIPBALANCER_COMPILED=1 $(COMPILER)/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps \
		--no-build-isolation --wheel-dir "$$place/wheel" "$$place" && \
	$(COMPILED)/bin/python $(INSTALL) --no-deps "$$place"/wheel/*.whl && cp -p "$$place/.made" $@

# Every hash of every platform, for all three Pythons. Names of registries stay out of the files.
COMPILE = .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --upgrade
lock:
	@$(PYTHON) -m venv .cache/lock && .cache/lock/bin/python -m pip --disable-pip-version-check install --quiet uv
	echo 'setuptools>=77' | $(COMPILE) - -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra dev -c requirements/run.txt -o requirements/dev.txt
	echo 'mypy>=1.19' | $(COMPILE) - -c requirements/dev.txt -o requirements/compile.txt
	echo 'matplotlib>=3.8' | $(COMPILE) - -c requirements/dev.txt -o requirements/bench.txt

clean:
	rm -rf $(VENV) $(COMPILED) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find sipbalancer tests bench -name __pycache__ -prune -exec rm -rf {} +
