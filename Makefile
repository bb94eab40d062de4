# The whole of it: `make run`, `make ui`, `make test`. Nothing is written outside var/ and .venv/.

.DEFAULT_GOAL := help
.PHONY: help install run ui live test screenshots lint docs protos lock relay clean

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
EVENTS ?= 20000

# The first Python that will do; `make PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

# Sample events arrive at one fixed moment: made again, they are the same, and land nothing new.
ARRIVAL := --end 2026-11-22T11:00

DAGSTER_HOME ?= $(CURDIR)/var/dagster
export DAGSTER_HOME
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright

help:
	@echo "make run      install, generate sample events, land and process them, print a table"
	@echo "make ui       open the Dagster UI on the same data, at http://127.0.0.1:$(PORT)"
	@echo "make live     PostgreSQL, an AWS emulator, Dagster's daemon and UI, and events that keep coming"
	@echo "make test     install what tests need and run all of them"
	@echo "make screenshots  take the documentation's pictures again (needs Chromium)"
	@echo "make lint     check style, types and the layering of imports"
	@echo "make docs     make what is generated in docs/ again"
	@echo "make protos   make the stubs of vault and relay from their protos again"
	@echo "make lock     choose the versions that the container image and the relay's function install again"
	@echo "make relay    make the relay's function, var/relay.zip (CA=FILE: who signs the vault's certificate)"
	@echo "make install  make $(VENV) and install the product into it"
	@echo "make clean    remove $(VENV) and the caches; var/ with data and keys stays"

install: $(VENV)/installed

PIP_INSTALL = DIST_EXTRA_CONFIG="$(CURDIR)/$(VENV)/setuptools.cfg" \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check

# pip compiles what it installs, but not this project and Python's own library. Where they are not to be compiled
# when they are used (PYTHONDONTWRITEBYTECODE, as in many containers), every start would take a second longer.
COMPILE = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c \
	'import compileall, pii_pipeline.runs; compileall.compile_dir("pii_pipeline", quiet=1)'

# Python would leave its bytecode beside the sources, and setuptools its metadata: both go into .venv.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@printf '[egg_info]\negg_base = $(VENV)\n' > $(VENV)/setuptools.cfg
	@echo 'import sys; sys.pycache_prefix = sys.pycache_prefix or sys.prefix + "/pycache"' > \
	"`$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`/pycache_in_venv.pth"

$(VENV)/installed: pyproject.toml $(BIN)/python
	@echo "Installing into $(VENV) (some minutes the first time) ..."
	@$(PIP_INSTALL) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(BIN)/python
	@echo "Installing into $(VENV), with what tests need (some minutes the first time) ..."
	@$(PIP_INSTALL) -e '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/installed

run: $(VENV)/installed
	@$(BIN)/pii sample webshop --events $(EVENTS) $(ARRIVAL) --land
	@$(BIN)/pii sample logins --events 1000 $(ARRIVAL) --land
	@$(BIN)/pii sample retail --events 2000 $(ARRIVAL) --land
	@$(BIN)/pii sample snowplow --events 1000 $(ARRIVAL) --land
	@$(BIN)/pii run
	@echo
	@echo "Next:  make ui"
	@echo "       $(BIN)/pii query \"select failure_type, count(*) from webshop.bad_events group by all\""
	@echo "       $(BIN)/pii query \"select email, page_url from webshop.marketing where email is not null limit 5\""

ui: $(VENV)/installed
	@umask 077 && $(BIN)/python -c 'from pii_pipeline import runs, settings; runs.prepare_dagster_home(settings.read_settings())'
	@echo "http://127.0.0.1:$(PORT)"
	@umask 077 && PYTHONWARNINGS=ignore::FutureWarning $(BIN)/dagster dev --host 127.0.0.1 --port $(PORT)

# Ctrl-C ends it, and everything it started. `make live ARGS='--seconds 60'` ends by itself.
live: $(VENV)/installed-dev
	@$(BIN)/python -m examples.live $(ARGS)

# In the order of their folders: the tests that take long come first, and at the end no core waits for another's.
# Bytecode of the tests themselves is in .venv too: every worker needs all of it.
test: $(VENV)/installed-dev
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest \
	--numprocesses=auto --dist=loadfile --no-loadscope-reorder $(ARGS)

# Of the test that opens the UI in Chromium, which is skipped where there is none.
screenshots: $(VENV)/installed-dev
	@$(BIN)/python -m pytest pii_pipeline_tests/browser
	@cp var/screenshots/asset-graph.png var/screenshots/columns.png docs/images/

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --cache-dir var/cache/import_linter
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/yamllint --strict deploy
	@$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml
	@! command -v terraform >/dev/null || terraform fmt -check -diff -recursive deploy/terraform

docs: $(VENV)/installed-dev
	@$(BIN)/python -m pii_pipeline_tests.documentation $(ARGS)

protos: $(VENV)/installed-dev
	@$(BIN)/python -m pii_pipeline_tests.protos

# What deploy/Dockerfile installs: for its Python, on Intel and ARM alike, from wheels alone.
lock: $(VENV)/installed-dev
	@$(BIN)/uv pip compile pyproject.toml --extra kubernetes --python-version 3.13 \
	--python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --quiet \
	--custom-compile-command "make lock" --output-file deploy/requirements.lock
	@$(BIN)/uv pip compile deploy/relay/requirements.in --constraint deploy/requirements.lock --python-version 3.13 \
	--python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --quiet \
	--custom-compile-command "make lock" --output-file deploy/relay/requirements.lock

relay: $(VENV)/installed-dev
	@$(BIN)/python deploy/relay/package.py var/relay.zip $(CA)

clean:
	rm -rf $(VENV) var/cache
