# `make demo` and `make test` each work alone on a machine with Python 3.11, and twice in a row.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format coverage docs docs-commands bench bench-meld gpu-wheels clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "erc needs Python 3.11 or newer: install $(PYTHON), or name one with 'make PYTHON=python3.12 …'"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: name a newer one with 'make PYTHON=…'"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: on Debian, apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (once; torch is large, allow a few minutes) …"
	@# uv is several times faster than pip; where it can't be had or fails, pip does it. Byte-code is
	@# compiled once, here, as pip does: where PYTHONDONTWRITEBYTECODE is set, as in many containers,
	@# every command would compile all that it imports again.
	@{ $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt uv \
	  && $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'; } \
	  || $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## the whole way on a rendered corpus, offline; prints where the report is
	@$(BIN)/erc demo --to demo

test: $(STAMP) lint  ## lint, types, and the tests: offline, on the CPU, about two minutes
	@$(BIN)/pytest -q -n 2 --dist loadfile

soak: $(STAMP)  ## the full counts of kills and hostile inputs
	@$(BIN)/pytest -q -n 2 -m soak

lint: $(STAMP)  ## ruff and pyrefly
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyrefly check --summarize-errors

# `make bench AGAINST=REV`: erc's own lines of the same benchmarks, with REV's build and this one in turns.
AGAINST ?=
bench: $(STAMP)  ## the benchmarks, on idle cores, into benchmarks/RESULTS.md; AGAINST=REV compares builds
ifneq ($(strip $(AGAINST)),)
	@$(BIN)/python benchmarks/bench_fuse.py --against $(AGAINST)
	@$(BIN)/python benchmarks/bench_folds.py --against $(AGAINST)
	@$(BIN)/python benchmarks/bench_fuse_memory.py --against $(AGAINST)
	@$(BIN)/python benchmarks/bench_extract.py --modality text --rows 2000 --against $(AGAINST)
	@$(BIN)/python benchmarks/bench_extract.py --modality visual audio --rows 40 --against $(AGAINST)
	@$(BIN)/python benchmarks/bench_startup.py --against $(AGAINST)
else
	@$(BIN)/python benchmarks/bench_prepare.py
	@$(BIN)/python benchmarks/bench_extract.py --write
	@$(BIN)/python benchmarks/bench_extract.py --memory --write
	@$(BIN)/python benchmarks/bench_fuse.py --write
	@$(BIN)/python benchmarks/bench_statistics.py --write
	@$(BIN)/python benchmarks/bench_startup.py --write
endif

# What a lent machine with a GPU lacks (it has Python 3.12, torch and transformers), in the versions of
# constraints.txt; benchmarks/gpu.sh unpacks them there. CONTRIBUTING.md has the command.
GPU_WHEELS := av open-clip-torch ftfy wcwidth pebble tomli-w
gpu-wheels: $(STAMP)  ## wheels that benchmarks/gpu.sh needs on a machine with a GPU, into build/wheels
	@rm -rf build/wheels && mkdir -p build/wheels
	@$(BIN)/pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
	  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
	  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d build/wheels \
	  $(foreach name,$(GPU_WHEELS),$(shell grep -i '^$(name)==' constraints.txt))
	@size=$$(du -cm build/wheels/*.whl | tail -1 | cut -f1); \
	  echo "build/wheels: $$size MiB, of the 64 that travel to a lent machine"; test $$size -lt 56

bench-meld: $(STAMP)  ## real MELD text through prepare, extract, fuse and report; 10 seeds
	@$(BIN)/python benchmarks/bench_meld.py

format: $(STAMP) docs-commands  ## format the code, write the page of commands
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# What `make coverage` measured last; raise it when it has grown.
COVERAGE_FLOOR ?= 94
coverage: $(STAMP)  ## the tests with coverage, at least COVERAGE_FLOOR percent
	@$(BIN)/pytest -q -n 2 --dist loadfile --cov=cli --cov=erc_features --cov=erc_fusion \
	  --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE_FLOOR)

docs: $(STAMP)  ## the documentation into site/, strictly
	@$(BIN)/python -c 'import mkdocs, material, mkdocstrings' 2>/dev/null || $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict -d site
	@echo "The documentation: $$PWD/site/index.html"

docs-commands: $(STAMP)  ## write docs/reference/commands.md from the commands
	@$(BIN)/python docs/make_commands.py

clean:  ## remove the environment and what the demo wrote
	rm -rf .venv demo site
