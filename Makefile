# Two commands: `make study` shows what this does, `make test` shows that it works.
# Everything is made inside .venv; weights go to the cache folder ($MULTITUDES_CACHE, else the platform's).

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: study test check bench clean

study: .venv/.study
	@$(BIN)/multitudes models fetch smollm2
	@$(BIN)/multitudes study examples/help_line.toml

test: .venv/.test
	@$(BIN)/multitudes models fetch smollm2
	@$(BIN)/multitudes models fetch minilm
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest

# What needs no model: format, lint, types.
check: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.test
	@$(BIN)/multitudes models fetch smollm2
	@for b in import_time orchestration convert study_time engine variance_speed diversity_speed exact_vs_counted axis_fit \
		axis_overhead; do $(BIN)/python benchmarks/$$b.py || exit 1; done

.venv/.study: pyproject.toml constraints.txt | .venv
	$(INSTALL) --editable '.[all]'
	@touch $@

.venv/.test: pyproject.toml constraints.txt | .venv
	$(INSTALL) --editable '.[all,dev]'
	@touch $@ .venv/.study

.venv:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
