# Every target sets up what it needs: a virtual environment in .venv with the locked versions.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: bench-tiers bench-batches campaign-batches help demo test test-all check format lint types campaign campaign-kill campaign-faults campaign-wal \
	campaign-budget campaign-plan bench bench-all bench-cpu \
	bench-nights bench-start \
	bench-flow bench-otel bench-quality bench-compare bench-ladder bench-scale audit lock build clean

help: ## print the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("llmbatch needs Python 3.11 or newer; try: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## run both pipelines on sample_data, with no key and no network
	$(BIN)/llmbatch run pipelines/tag --input sample_data/tickets.jsonl --provider offline
	$(BIN)/llmbatch run pipelines/summarise --input sample_data/articles.parquet --provider offline

test: $(READY) ## run the tests (under 6 minutes)
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-all: $(READY) ## run every test, the slow ones too: disks filled, hostile inputs, security, fuzzing (15 minutes)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY) lint types test ## format, lint, types and tests: what CI runs

lint: $(READY) ## check format and lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY) ## check types (mypy --strict)
	@$(BIN)/mypy

campaign: campaign-kill campaign-faults campaign-wal campaign-batches campaign-budget campaign-plan ## every long campaign below

campaign-kill: $(READY) ## 200 kills with kill -9 and cut power, compared with unbroken runs (20 minutes)
	@$(BIN)/python -m tests.campaign.kill

campaign-faults: $(READY) ## every fault of the simulator in one run of 10,000 rows
	@$(BIN)/python -m tests.campaign.faults

campaign-wal: $(READY) ## the ledger's log cut and flipped at many places
	@$(BIN)/python -m tests.campaign.wal

campaign-batches: $(READY) ## nights by provider batches, killed again and again, beside the simulator's account
	@$(BIN)/python -m tests.campaign.batches

campaign-budget: $(READY) ## 500 random nights under a budget, and 20 that are killed: spend never above the cap (15 minutes)
	@$(BIN)/python -m tests.campaign.budget

campaign-plan: $(READY) ## plans against what came, for both shipped pipelines
	@$(BIN)/python -m tests.campaign.plan

bench: $(READY) ## speed, memory, storage beside peers in one table (40 minutes; make bench BENCH=--quick: 8)
	@$(BIN)/python -m tests.bench $(BENCH)

bench-all: bench bench-flow bench-otel bench-quality bench-compare bench-ladder bench-batches bench-scale ## every benchmark

bench-cpu: $(READY) ## CPU per row, beside a plain SDK loop, bare aiohttp, litellm and curator
	@$(BIN)/python -m tests.bench.cpu

bench-nights: $(READY) ## resume, reuse, memory and storage up to a million rows (20 minutes, 6 GB of disk)
	@$(BIN)/python -m tests.bench.nights
	@$(BIN)/python -m tests.bench.nights --kind parquet

bench-start: $(READY) ## how long --help and check take
	@$(BIN)/python -m tests.bench.start

bench-flow: $(READY) ## limits, retries and outages, beside a plain SDK loop with its own retries
	@$(BIN)/python -m tests.bench.flow

bench-otel: $(READY) ## what --otel costs an attempt
	@$(BIN)/python -m tests.bench.telemetry

bench-quality: $(READY) ## how often the comparison of nights errs, and whether a judge's range holds the truth (20 minutes)
	@$(BIN)/python -m tests.bench.bounds
	@$(BIN)/python -m tests.bench.quality
	@$(BIN)/python -m tests.bench.judges

bench-compare: $(READY) ## how often compare names the right model, and how often it certifies a bad one (10 minutes)
	@$(BIN)/python -m tests.bench.compare
	@$(BIN)/python -m tests.campaign.compare

bench-ladder: $(READY) ## what a ladder costs and how good it is, beside the simulator's account; whether its verdict is right
	@$(BIN)/python -m tests.bench.ladder

bench-tiers: $(READY) ## 200 nights led by --tier auto, beside an oracle and other ways (3 minutes); some of them in earnest
	@$(BIN)/python -m tests.bench.tiers
	@$(BIN)/python -m tests.bench.tiers_in_earnest

bench-batches: $(READY) ## 200,000 rows through provider batches: memory, speed, the queue of tokens
	@$(BIN)/python -m tests.bench.batches

bench-scale: $(READY) ## beyond one machine: Ray workers and queues, one limit for all, workers that are killed (up to 40 minutes)
	@$(BIN)/python -m tests.bench.scale_ray
	@$(BIN)/python -m tests.bench.scale_queue

audit: $(READY) ## look the locked versions up in the vulnerability database; says so when it cannot be reached
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit || echo "audit: pip-audit could not be installed"
	@$(BIN)/python -m pip_audit --require-hashes --disable-pip --requirement requirements.lock --format json 2>/dev/null \
		| $(BIN)/python .ci/audit

format: $(READY) ## format the code and mend what lint can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## resolve requirements.lock anew from pyproject.toml (needs uv)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --generate-hashes --all-extras --no-annotate --no-header --python-version 3.11 \
		--upgrade --quiet pyproject.toml -o requirements.lock

build: $(READY) ## build the wheel and the sdist into dist/
	@$(BIN)/python -m pip install --quiet build
	@$(BIN)/python -m build

clean: ## remove the environment and what tools left behind
	@rm -rf .venv .mypy_cache .ruff_cache .hypothesis dist
