# make book            install, execute every chapter, build the book, say where to open it
# make test            install, run all tests
# make lint            style and common slips
# make html            render the committed chapters: no torch, no execution, a minute
# make release         replace book/chapters and results/ by a run that passed the gate
# make train           train the released checkpoints again (hours)
# make bench           speed and scale
# make lock            write the lock files from what is installed
# PROFILE=smoke|cpu|gpu chooses the scale. The plain commands behind each target stand in README.md.

PROFILE ?= cpu
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
BOOK_ENV := $(if $(wildcard $(ENV)/.installed),$(ENV),.venv-book)

.PHONY: book run test lint html release train bench lock

book: run
	$(BIN)/python -m inc_lib.book build runs/$(PROFILE)

run: $(ENV)/.installed
	@$(BIN)/snakemake --profile workflow/profiles/local --config profile=$(PROFILE) \
	|| (echo "not every chapter was executed (for Snakemake's own account, run it with --quiet host)"; exit 1)
	@$(BIN)/python -m inc_lib.book left $(PROFILE)

test: $(ENV)/.installed
	$(BIN)/python -m pytest

lint: $(ENV)/.installed
	$(BIN)/ruff check .

html: $(BOOK_ENV)/.installed
	$(BOOK_ENV)/bin/python -m inc_lib.book build

release: book
	$(BIN)/python -m inc_lib.book release runs/$(PROFILE)

train: $(ENV)/.installed
	sh workflow/train.sh

bench: $(ENV)/.installed
	for file in $(filter-out benchmarks/report.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done

lock: $(ENV)/.installed
	$(BIN)/python workflow/lock.py

VERSION_CHECK := import sys; sys.exit(sys.version_info < (3, 11) and \
	"error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")

$(ENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c '$(VERSION_CHECK)'
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv-book/.installed: requirements-book.lock pyproject.toml
	@$(PYTHON) -c '$(VERSION_CHECK)'
	$(PYTHON) -m venv .venv-book
	.venv-book/bin/python -m pip install --quiet -r requirements-book.lock
	.venv-book/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
