# maskbench: `make run` on a fresh machine runs the default experiment, `make test` the tests; `make help` lists the rest.

PYTHON ?= python3
ARGS ?=
VENV := .venv
# Named after the lock's content: a new lock rebuilds the environment, nothing else does, and no network is asked for.
STAMP := $(VENV)/installed-$(shell cksum < requirements.lock | tr ' ' '-')

export PATH := $(abspath $(VENV))/bin:$(PATH)
# Scripts import maskbench from this checkout, whichever others share the environment.
export PYTHONPATH := $(CURDIR)
unexport PYTHONHOME

# One worker more than there are processors, as tests of SLURM, leases and the browser wait more than they compute; tests
# that share something costly stay together (tests/conftest.py).
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=20

.PHONY: run plan test test-all check lint reliability bench-check models schema findings verify-reference reference-card \
	reference-archive reference-merge lock clean-env help env

run: $(STAMP)  ## run the default experiment; make run ARGS="--configfile experiments/x.yaml" runs another
	snakemake --cores all $(ARGS)

plan: $(STAMP)  ## what an experiment can decide, and how long it takes; make plan ARGS="--configfile x.yaml --from results/y"
	@python scripts/plan.py $(ARGS)

test: $(STAMP)  ## run the tests; make test ARGS="-k masks" runs some of them
	$(PYTEST) $(ARGS)

test-all: $(STAMP)  ## run all tests, those too that take too long for every change (marked `long`)
	$(PYTEST) --long $(ARGS)

check: lint  ## run every check, then the tests
	$(PYTEST) $(ARGS)

lint: $(STAMP)  ## run every check but the tests
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint
	lint-imports
	python -m maskbench schema --check

reliability: $(STAMP)  ## run the tests that inject faults and write docs/reliability.md from what they injected
	rm -f $(VENV)/injected
	INJECTED_FAULTS=$(abspath $(VENV))/injected $(PYTEST) -m fault $(ARGS)
	python -m tests.helpers.injected $(VENV)/injected > $(VENV)/reliability.md
	mv $(VENV)/reliability.md docs/reliability.md

bench-check: $(STAMP)  ## compare training speed with what was recorded on a machine of this kind (five minutes)
	python benchmarks/check.py $(ARGS)

# the reference study by default; STUDY=experiments/x.yaml takes another one
CELLS = python scripts/cells.py --study $(or $(STUDY),experiments/reference.yaml) --arguments='$(ARGS)'

verify-reference: $(STAMP)  ## redo a random share of the reference study's cells and compare; make verify-reference SEED=1 SHARE=5
	@$(CELLS) verify --seed '$(SEED)' --share $(or $(SHARE),5)

reference-card: $(STAMP)  ## run missing cells of the reference study for some minutes, on a card or not; MINUTES=10
	@$(CELLS) card --minutes $(or $(MINUTES),10) --file '$(FILE)'

reference-archive: $(STAMP)  ## pack all finished cells of the reference study into one file
	@$(CELLS) archive --file '$(FILE)'

reference-merge: $(STAMP)  ## merge cells that ran elsewhere into the reference study (FILE=results/reference-card.zip), or INTO=a-study of their own
	@$(CELLS) merge --file '$(FILE)' --into '$(INTO)'

models: $(STAMP)  ## try every family of models with masks and write docs/models.md (about ten minutes)
	python -m tests.helpers.families_page > $(VENV)/models.md
	mv $(VENV)/models.md docs/models.md

schema: $(STAMP)  ## write config.schema.json, docs/config.md and the comments of config.yaml anew
	python -m maskbench schema

findings: $(STAMP)  ## write docs/findings.md and the answer in README.md from results/reference
	@python scripts/findings.py $(ARGS)

env: $(STAMP)  ## build .venv from requirements.lock, with a link to this checkout's maskbench

$(STAMP):
	@command -v $(PYTHON) > /dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: $(PYTHON) is Python %d.%d, expected 3.11 or newer; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	@echo "installing requirements.lock into $(VENV), a few minutes; tail -f $(VENV)/install.log shows how far it is"
	@python -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock > $(VENV)/install.log 2>&1 \
		|| { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@PYTHONPATH= python -m pip install --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable . \
		>> $(VENV)/install.log 2>&1 || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@touch $@

# Versions of a fresh resolution of pyproject.toml. Without local parts (+cpu), so that every index can serve them.
lock:  ## resolve pyproject.toml anew and write requirements.lock
	rm -rf .lock
	$(PYTHON) -m venv .lock/env
	.lock/env/bin/python -m pip install --disable-pip-version-check --upgrade setuptools
	cp -r pyproject.toml README.md LICENSE claims.yaml maskbench .lock
	.lock/env/bin/python -m pip install --disable-pip-version-check '.lock[dev]'
	sed -n '/^#/p' requirements.lock > .lock/header
	.lock/env/bin/python -m pip freeze --all --exclude pip --exclude maskbench | sed 's/+.*//' | cat .lock/header - > .lock/new
	mv .lock/new requirements.lock
	rm -rf .lock

clean-env:  ## remove .venv
	rm -rf $(VENV)

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1\t\2/p' Makefile | expand -t 18
