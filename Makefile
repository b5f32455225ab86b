# make help lists what there is. Every target makes its own environment in .venv the first time, and starts at once after that.
.DEFAULT_GOAL := help
.PHONY: help run test test-slow docs lab bench results clean

PYTHON ?= python3
LESSON ?= ecg_delineation
ARGS ?=
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

help:  ## this list
	@echo "make TARGET, one of"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | awk -F'|' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo "The first one of them installs everything into .venv (PYTHON=python3.12 chooses the interpreter)."

run: .venv/.installed  ## run a lesson headless (LESSON=ecg_delineation, ARGS="-p epochs=2" are passed on)
	@$(BIN)/clfnb run $(LESSON) $(ARGS)

test: .venv/.installed  ## check everything: style, structure, every notebook, the command line
	@$(BIN)/python tests/check.py $(ARGS)

test-slow: .venv/.installed  ## what takes hours: two builds from nothing, lessons twice and from every heading, the wheel alone
	@$(BIN)/python -m pytest -m slow -rs $(ARGS)

docs: .venv/.installed  ## build the site in _docs/ (ARGS=--serve shows it on http://127.0.0.1:8000/)
	@$(BIN)/python -m docs $(ARGS)

lab: .venv/.installed  ## open the notebooks in JupyterLab
	@$(BIN)/python -m jupyterlab --notebook-dir=nbs $(ARGS)

bench: .venv/.installed-bench  ## measure against public peers, one table each
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

results: .venv/.installed-bench  ## list the commands behind the results pages (ARGS=plankton runs that section and compares its tables)
	@$(BIN)/python -m docs.results $(ARGS)

clean:  ## remove the environment, caches and built files (data and runs stay)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache _proc _docs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define BOOTSTRAP
set -e
$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "clfnb needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is %d.%d: name another one, as in make PYTHON=python3.12" % sys.version_info[:2])'
if command -v uv >/dev/null; then uv=uv; else uv=$(BIN)/uv; fi
if [ ! -e .venv/pyvenv.cfg ]; then
  echo "Making the environment in .venv; this takes minutes once (about 6 GB with the GPU libraries) ..."
  if [ $$uv = uv ]; then uv venv -q --python "$(PYTHON)" .venv; else $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }; fi
fi
if [ $$uv != uv ] && [ ! -x $$uv ]; then $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv || uv=pip; fi
if [ $$uv = pip ]; then $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$(EXTRA)]"
else $$uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[$(EXTRA)]"; fi
touch $@
endef
export BOOTSTRAP_TEXT = $(BOOTSTRAP)

.venv/.installed: EXTRA = dev
.venv/.installed-bench: EXTRA = dev,bench
.venv/.installed .venv/.installed-bench: pyproject.toml constraints.txt
	@eval "$$BOOTSTRAP_TEXT"
