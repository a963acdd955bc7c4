# make run [CMD='curl -sI http://example.org']    a shell, or one command, whose traffic goes through tunproxy
# make test                                       every test; installs what they need where it may
# make deb                                        a Debian package, in build/
# make soak [MINUTES=60]                           mixed traffic for an hour: nothing is lost, nothing grows
# make bench | lint | format | build | clean
#
# PYTHON=python3.12   the Python to use (3.11 or newer)     VENV=.venv   where its environment lives
# MYPYC_OPT_LEVEL=0   build fast, run slower                TUNPROXY_PURE=1   build uncompiled

PYTHON ?= python3
VENV ?= .venv
MYPYC_OPT_LEVEL ?= 3
TUNPROXY_PURE ?=

PY := $(VENV)/bin/python
PYTEST := $(PY) -P -m pytest
SOURCES := pyproject.toml hatch_build.py packaging/tunproxy.service packaging/tunproxy.sysusers $(shell find tunproxy plugins -name __pycache__ -prune -o -print)
INSTALLED := $(VENV)/.installed-O$(MYPYC_OPT_LEVEL)$(if $(filter-out 0,$(TUNPROXY_PURE)),-pure)

export MYPYC_OPT_LEVEL TUNPROXY_PURE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TUNPROXY_RUN := $(value CMD)
unexport PYTHONPATH CMD

.PHONY: run build deb test bench soak lint format clean
.DELETE_ON_ERROR:

run: build
	@if [ -n "$$TUNPROXY_RUN" ]; then \
	    exec $(VENV)/bin/tunproxy exec -- sh -c "$$TUNPROXY_RUN"; \
	else \
	    exec $(VENV)/bin/tunproxy exec -- "$${SHELL:-/bin/sh}"; \
	fi

build: $(INSTALLED)

$(INSTALLED): $(VENV)/.build-tools $(SOURCES)
	@echo 'building tunproxy ...' >&2
	@rm -rf build/wheel $(VENV)/.installed-*
	@MYPY_CACHE_DIR=$(CURDIR)/.mypy_cache/build $(PY) -m hatchling build -t wheel -d build/wheel >/dev/null
	@$(PY) -m pip install -q --no-index --no-deps --force-reinstall build/wheel/tunproxy-*.whl
	@touch $@

# Its dependencies are those in $(VENV), with the extras that packaging/deb.py names. The date of all that is in it: the last commit's, unless it is given.
deb: $(VENV)/.deb-tools build
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)} \
	    $(PY) packaging/deb.py build/wheel/tunproxy-*.whl build

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "tunproxy needs Python 3.11 or newer (try make PYTHON=python3.11)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "cannot make $(VENV): Python's venv module is missing (apt-get install python3-venv)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.build-tools: $(PY) pyproject.toml packaging/requirements.py
	@echo 'installing what tunproxy is built with into $(VENV) ...' >&2
	@$(PY) packaging/requirements.py >$@.txt && $(PY) -m pip install -q -r $@.txt && touch $@

$(VENV)/.deb-tools: $(PY) pyproject.toml packaging/requirements.py
	@echo 'installing what the package brings along into $(VENV) ...' >&2
	@$(PY) packaging/requirements.py dashboard seccomp top >$@.txt && $(PY) -m pip install -q -r $@.txt && touch $@

$(VENV)/.test-tools: $(PY) pyproject.toml packaging/requirements.py
	@echo 'installing what the tests need into $(VENV) ...' >&2
	@$(PY) packaging/requirements.py test dev >$@.txt && $(PY) -m pip install -q -r $@.txt && touch $@

# The packet path is tested as it is written and as it is compiled. The former needs no build, and so runs beside it,
# as the simulator does beside the unit tests; then programs and the kernel meet what is installed, three files of tests
# at a time, as they mostly wait; what measures comes last, alone. Where nothing could be compiled, that is the
# uncompiled code, and the build said so. In the background signals would be ignored: env gives them back.
test:
	@packaging/test-programs
	@$(MAKE) --no-print-directory $(VENV)/.test-tools
	@status=0; mode=compiled; mkdir -p build; \
	env --default-signal=INT,QUIT $(PYTEST) -p no:cacheprovider --mode interpreted tests/unit tests/sim >build/interpreted.log 2>&1 & \
	interpreted=$$!; \
	$(MAKE) --no-print-directory build || { kill $$interpreted; exit 1; }; \
	$(PY) -P -c 'import sys; from tunproxy import version; sys.exit(not version.is_compiled())' || mode=installed; \
	env --default-signal=INT,QUIT $(PYTEST) -p no:cacheprovider --mode $$mode tests/sim >build/simulator.log 2>&1 & \
	simulator=$$!; \
	$(PYTEST) --mode $$mode tests/unit || status=1; \
	echo "make test: the simulator:"; \
	wait $$simulator || status=1; \
	cat build/simulator.log; \
	echo "make test: both, interpreted:"; \
	wait $$interpreted || status=1; \
	cat build/interpreted.log; \
	$(PYTEST) --mode $$mode --numprocesses 3 --dist loadfile -m "not undisturbed" tests/system tests/interop || status=1; \
	$(PYTEST) --mode $$mode -m undisturbed tests/system tests/interop || status=1; \
	[ $$status -eq 0 ] || echo "make test: at least one of the five runs failed, see their summaries"; \
	exit $$status

bench: build
	@$(PY) -P tests/bench/micro.py
	@$(PY) -P tests/bench/end_to_end.py

MINUTES ?= 60
soak: build
	@$(PY) -P tests/system/soak.py $(MINUTES)

lint: $(VENV)/.test-tools
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/.test-tools
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
