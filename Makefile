# Every command a user needs; `make help` lists them. Each makes its own environment first where there is none.
SHELL := /bin/bash
SETTINGS := PROFILE DATASETS NETWORKS REGIMES SEEDS SIZE WEIGHTS DATA GROUPS PRECISION BATCH CHECKPOINT_DIR RESULTS
ARGUMENTS = $(foreach name,$(SETTINGS),$(if $($(name)),$(name)='$($(name))')) $(MAKEOVERRIDES)

# Colab brings its own torch: use the running Python there. Elsewhere the project has an environment of its own.
ifdef COLAB_RELEASE_TAG
PY := python3
READY := .colab-ready
else
PY := .venv/bin/python
READY := .venv/ready
endif

.PHONY: all paper summary plan evidence bench faults render rates readme reproduce test lint badges clean help

all: $(READY) ## train what is missing of PROFILE (quick), render every run and the summary
	@$(PY) -m entr_utils.runs all $(ARGUMENTS)

paper: PROFILE = paper
paper: all ## the paper's full matrix on real images: make all PROFILE=paper

plan: $(READY) ## say what the runs would take on this machine, without training: make plan PROFILE=paper
	@$(PY) -m entr_utils.runs plan $(ARGUMENTS)

evidence: $(READY) ## train what is missing of all committed results: make evidence PARTS="1 4" DATA=folder WEIGHTS=path
	@$(PY) -m entr_utils.evidence $(MAKEOVERRIDES)

bench: $(READY) ## measure how fast training is and what binds it (some 20 minutes on two cores) into results/bench
	@$(PY) -m benchmarks.bench $(foreach name,PARTS RESULTS,$(if $($(name)),$(name)='$($(name))'))

faults: $(READY) ## stop runs at random moments, spoil files, feed bad input; figures to results/faults (an hour) KILLS=50
	@$(PY) -m benchmarks.faults $(foreach name,KILLS PARTS PROFILE DATASETS RESULTS,$(if $($(name)),$(name)='$($(name))'))

summary: PROFILE = paper
summary: $(READY) ## draw the summary of the records that are there (paper), without training
	@$(PY) -m entr_utils.runs summary $(ARGUMENTS)

render: $(READY) ## draw the notebooks of finished runs again, without training
	@$(PY) -m entr_utils.runs render $(ARGUMENTS)

rates: $(READY) ## the learning rate suggested at the sizes that runs begin with; it changes none: SEEDS="0 1"
	@$(PY) -m entr_utils.runs rates $(ARGUMENTS)

readme: $(READY) ## write the committed results (results/paper) into the README
	@$(PY) -m entr_utils.readme results

reproduce: $(READY) ## train a recorded run again and print the differences: make reproduce RECORD=path [WEIGHTS= DATA=]
	@$(PY) -m entr_utils.reproduce $(MAKEOVERRIDES)

test: $(READY) ## run the tests, three at a time: on two cores some wait for others
	@$(PY) -m pytest -q -n 3 --dist worksteal

lint: $(READY) ## check style and types
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

badges: $(READY) ## write the repository's address everywhere it is needed: make badges REPO=owner/name
	@$(PY) -m entr_utils.readme badges '$(REPO)'

clean: ## remove results/quick, results/tiny and caches; records of the paper profile stay
	rm -rf results/quick results/tiny data/cache .pytest_cache .ruff_cache .mypy_cache

help: ## this list
	@echo "make TARGET NAME=value ..."
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1\t\2/' | expand -t 12
	@echo
	@echo "  PROFILE   quick (images drawn by formula, 80 px) or paper (real images, 250 px)"
	@echo "  DATASETS  steel ucm bees            NETWORKS  resnet18 resnet34 resnet50"
	@echo "  REGIMES   no_increase gradual stepwise small reversed short blurred cropped   SEEDS  0 1 2 ..."
	@echo "  WEIGHTS   imagenet, none, or a checkpoint's path      SIZE  largest image size in pixels"
	@echo "  DATA      folder that holds <dataset>/<class>/ (data), or synthetic"
	@echo "  GROUPS    CSV (file, group) of images to keep on one side of the split, or none"
	@echo "  PRECISION float32, bfloat16 or float16 (CUDA); the fastest the hardware really has where none is named"
	@echo "  BATCH     images a step (quick 16, paper 64)    PARTS     of the bench: ceiling versus growth ..., of the evidence: 1 to 5"
	@echo "  CHECKPOINT_DIR  where runs keep their state to go on from, such as a mounted drive (beside the record)"
	@echo "  RESULTS   where records and notebooks go (results)    PYTHON  the Python to build .venv with"

# A Python of 3.11-3.13 that is there and can make environments: python3 where it fits.
.venv/ready: requirements.lock
	@bash setup.sh $(PYTHON)

.colab-ready: colab.sh
	@bash colab.sh && touch $@
