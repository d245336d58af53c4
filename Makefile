# Two commands for a bare machine: `make demo` and `make test`. Both set everything up in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow faults bench lint reproduce references pages baselines setup clean

setup: $(READY)

# The stamp is older than pyproject.toml when dependencies changed. PyTorch's CUDA build is 5 GB: two to three minutes.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)

demo: setup
	$(BIN)/ecosystem run lambda-mixture

# Two workers, so that the suite stays under two minutes on two cores.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow

# The fault campaign: random kills, malformed scenarios, damaged records.
faults: setup
	$(BIN)/python -m pytest -m faults -s

# Every promised figure, written into reports/bench/README.md. Leave the machine alone meanwhile (about twenty minutes).
bench: setup
	ECOSYSTEM_WRITE_BENCH=1 $(BIN)/python -m pytest -m bench -s

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# The literature's results on the scoreboard of reports/README.md, from the reference reports where they suffice.
reproduce: setup
	$(BIN)/ecosystem reproduce --from-reports

# All reference reports anew (about two hours on two cores); `make references ONLY=ring-8` makes one.
references: setup
	$(BIN)/python -m ecosystem.references $(ONLY)

# Written pages that tests keep true: the catalogue of cards and the scenarios' JSON schema for editors.
pages: setup
	$(BIN)/python -m ecosystem.catalogue
	$(BIN)/python -c 'from ecosystem import references; print(references.schema(), end="")' > scenarios/schema.json

# Every small card's clean-data baseline anew, written into the card (about two hours; with real data under ECOSYSTEM_DATA).
baselines: setup
	for card in $$($(BIN)/python -c 'from ecosystem.baselines import SMALL; print(*SMALL)'); do $(BIN)/ecosystem models --measure $$card; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
