# Everything that is done with this tree. `make help` lists the targets; PYTHON=/path/to/python3 chooses a Python.

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install -qq
LIBRARY_SOURCES := build_ffi.py include/module.modulemap include/plue_session.h \
	$(wildcard plue_session/*.py plue_session/capi/*.py plue_session/capi/*.c plue_session/capi/*.h plue_session/capi/surface/*.py \
	plue_session/adapters/child/guard.c plue_session/adapters/child/users.h)
CC ?= cc
# `make run` shows the embedded backend, also to somebody whose environment names a server: that one is left alone.
ALONE := env -u PLUE_OPENCODE_URL -u PLUE_SESSION_CONFIG

export PYTHON
.DELETE_ON_ERROR:
.PHONY: help run library lint test torture bench header check-header requirements clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

run: build/first build/chat ## build the library, run the C example and the demo
	@rm -rf build/data
	@echo "== examples/first.c, a C program that links the library =="
	@$(ALONE) PLUE_SESSION_DATA_DIR=build/data build/first
	@echo
	@echo "== plue-session demo =="
	@$(ALONE) $(PY) -m plue_session.cli demo
	@echo
	@echo "To talk to a model: PLUE_OPENCODE_URL=http://127.0.0.1:4096 build/chat, where 'opencode serve' runs in this folder."
	@echo "The library is plue_session/lib/libplue_session.so, its header plue_session/include/plue_session.h."

library: build/.library ## build the library into plue_session/

lint: .venv/.lint ## check form and types
	@scripts/lint.sh

test: build/.library .venv/.test .venv/.bench .venv/.lint .tools/.zig ## run lint and every test, then coverage and the requirements
	@scripts/tools.sh
	@sh scripts/test.sh

torture: build/.library .venv/.test .venv/.bench .tools/.zig .tools/zig-0.16 .tools/zig-0.17 ## run the same tests with more kills, more random, more Zig
	@scripts/tools.sh
	PLUE_TORTURE=1 $(PY) -m pytest

bench: build/.library .venv/.test .venv/.bench ## measure against peers
	$(PY) benchmarks/run.py

header: .venv/.runtime ## write the header and what else the surface table makes
	$(PY) -m plue_session.capi.emit

check-header: .venv/.runtime ## fail if they differ from the table
	$(PY) -m plue_session.capi.emit --check

requirements: .venv/.test ## say which requirements are proven by tests
	@$(PY) scripts/requirements.py

clean: ## remove what was built, .venv and .tools
	rm -rf build dist .venv .tools .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info plue_session/lib plue_session/include
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the targets stand on ----------------------------------------------------------------------------------------
.venv/.base: FORCE
	@scripts/venv.sh

.venv/.runtime: .venv/.base requirements/build.txt
	@$(PIP) -r requirements/build.txt
	@touch $@

.venv/.test: .venv/.runtime requirements/test.txt scripts/coverage.pth
	@$(PIP) -r requirements/test.txt
	@cp scripts/coverage.pth "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/plue_coverage.pth"
	@touch $@

.venv/.bench: .venv/.runtime requirements/bench.txt
	@$(PIP) --target .venv/bench --upgrade -r requirements/bench.txt
	@touch $@

.venv/.lint: .venv/.runtime requirements/lint.txt
	@$(PIP) -r requirements/lint.txt
	@touch $@

.tools/.zig: .venv/.base requirements/zig.txt
	@test -x .tools/bin/python || $(PY) -m venv .tools
	@.tools/bin/python -m pip --disable-pip-version-check install -qq -r requirements/zig.txt
	@touch $@

.tools/zig-%: requirements/zig-%.txt .tools/.zig
	@$(PIP) --target $@ --upgrade -r $<
	@touch $@

build/.library: .venv/.runtime $(LIBRARY_SOURCES)
	@echo "Building the library for $$($(PY) -V)"
	@$(PY) build_ffi.py
	@touch $@

build/first build/chat: build/%: examples/%.c build/.library
	@$(CC) -Wall -Wextra -o $@ $< \
		-Iplue_session/include -Lplue_session/lib -Wl,-rpath,"$(CURDIR)/plue_session/lib" -lplue_session
