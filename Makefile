# Every command a user needs; `make help` lists them. Each makes its own environment first where there is none.
SHELL := /bin/bash
NAMES := PROFILE DATASETS NETWORKS REGIMES SEEDS SIZE WEIGHTS DATA GROUPS CLASSES PRECISION BATCH LR CHECKPOINT_DIR \
         RESULTS IMAGES STUDY RECORD REGIME REPO AGAIN PARTS KILLS PYTHON GPUS JOBS ON PARTITION TIME

# Values reach the commands through the environment, as they were typed: never expanded, never part of what a shell reads.
$(foreach name,$(NAMES),$(if $(filter-out undefined,$(origin $(name))),\
    $(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# Those of other people would change what our Python imports, draws or installs.
unexport PYTHONPATH PYTHONSTARTUP MPLBACKEND PIP_USER

# Colab brings its own torch: use the running Python there. Elsewhere the project has an environment of its own.
ifdef COLAB_RELEASE_TAG
PY := python3
READY := .colab-ready
test test-bench: .colab-tests
else
PY := .venv/bin/python
READY := .venv/ready
endif

.PHONY: all look paper plan status summary render clock study bench faults again test test-bench test-slurm lint demo-weights badges clean help

all: $(READY) ## make the notebooks of PROFILE (quick) that are missing, train what they need, draw the summary
	@$(PY) -m entr_utils.cli all --make

look: $(READY) ## what would be taken of a folder of images, in seconds: IMAGES=folder CLASSES=inner
	@$(PY) -m entr_utils.cli look --make

paper: $(READY) ## the paper's full matrix on real images: make all PROFILE=paper
	@$(PY) -m entr_utils.cli paper --make

plan: $(READY) ## what that would take on this machine; nothing is trained, no images are needed: PROFILE=paper
	@$(PY) -m entr_utils.cli plan --make

summary: $(READY) ## draw the summary of a profile (paper) again from the records there are
	@$(PY) -m entr_utils.cli summary --make

status: $(READY) ## which notebooks of PROFILE (paper) are done, running, lost (with ON=slurm) or missing
	@$(PY) -m entr_utils.cli status --make

render: $(READY) ## draw the notebooks of finished runs again, without training
	@$(PY) -m entr_utils.cli render --make

clock: $(READY) ## measure how long this machine takes for PROFILE, or for the records there are (minutes): AGAIN=1
	@$(PY) -m entr_utils.cli clock --make

study: $(READY) ## make what is missing of a study: STUDY=controls DATA=folder WEIGHTS=path
	@$(PY) -m entr_utils.cli study --make

bench: $(READY) ## measure how fast training is and what binds it, into results/bench: PARTS="clock"
	@$(PY) -m benchmarks.bench --make

faults: $(READY) ## stop runs at random moments, spoil files, feed bad input; into results/faults (an hour): KILLS=50
	@$(PY) -m benchmarks.faults --make

again: $(READY) ## train a recorded run again and print the differences: RECORD=path WEIGHTS=path DATA=folder
	@$(PY) -m entr_utils.cli again --make

test: $(READY) ## run the tests, three at a time: on two cores some wait for others
	@$(PY) -m pytest -q -n 3 --dist worksteal tests

test-bench: $(READY) ## run the tests of bench and faults
	@$(PY) -m pytest -q -n 3 --dist worksteal benchmarks/tests

test-slurm: $(READY) ## run the tests of ON=slurm on a Slurm of their own, as root (minutes)
	@bash tests/slurm/cluster.sh check && $(PY) -m pytest -q tests/slurm

lint: $(READY) ## check style, types and which room may import which
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && $(PY) -c "import importlinter.cli as cli; cli.lint_imports_command()"

demo-weights: $(READY) ## pretrain the body of quick's narrow network again, on other drawn images (minutes)
	@$(PY) -m entr_utils.cli demo-weights --make

badges: $(READY) ## write the repository's address everywhere it is needed: REPO=owner/name
	@$(PY) -m entr_utils.cli badges --make

clean: ## remove results/quick, results/tiny and caches; records of paper, compact and mechanism stay
	rm -rf results/quick results/tiny data/cache .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

help: $(if $(REGIME),$(READY)) ## this list, or what a regime does and its options: REGIME=stepwise
ifdef REGIME
	@$(PY) -m entr_utils.cli help --make
else
	@echo "make TARGET NAME=value ..."
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14
	@grep -hE '^#: ' $(firstword $(MAKEFILE_LIST)) | sed 's/^#:/ /'
endif

#: PROFILE    quick (drawn images, 80 px), compact (128 px), paper (250 px), mechanism (drawn, 64 px), scratch (64 px)
#: DATASETS   steel ucm bees, imagenette cifar10, or name:folder of any folders with a sub-folder a class
#: NETWORKS   resnet18 resnet34 resnet50, resnet18-narrow (a quarter of the channels), resnet18-cifar (for 32 px)
#: REGIMES    no_increase gradual stepwise small reversed short blurred cropped; options as stepwise:switch=RPL;
#:            others: decrement ramp progressive random_size pooled bounded_depth
#: SEEDS      folds of the split: 0 1 2 ...
#: SIZE       largest image size in pixels
#: WEIGHTS    imagenet, none, or a checkpoint's path
#: DATA       folder that holds <dataset>/<class>/ (data), or synthetic
#: GROUPS     CSV file (file, group) of images to keep on one side of the split, none, known, known-by-image
#: CLASSES    inner: the classes are the folders in the top folders (2023/cat, 2024/cat)
#: PRECISION  float32, bfloat16 or float16 (CUDA); the fastest that the hardware really has where none is named
#: BATCH      images a step
#: LR         learning rate of the head
#: CHECKPOINT_DIR  where runs keep what they go on from, such as a mounted drive (beside the record)
#: RESULTS    where records and notebooks go (results)
#: GPUS       0,1,2,3 or all: a notebook on each at once (with ON=slurm: 0 for jobs without a GPU)
#: JOBS       notebooks at once that share the threads; with ON=slurm at most so many jobs at once
#: ON         slurm: as jobs of a cluster; returns when they are submitted
#: PARTITION  of the cluster
#: TIME       minutes after which a job is stopped and goes on in another (60)
#: IMAGES     of look: a folder with one sub-folder a class, or an archive of one
#: STUDY      paper compact controls rates leakage mechanism conflict methods_pretrained methods_scratch
#: RECORD     a record's file
#: REGIME     a regime's name
#: REPO       owner/name on GitHub
#: AGAIN      1: another take of the clock
#: PARTS      of bench and faults
#: KILLS      of faults: how many kills
#: PYTHON     the Python to make .venv with

# A Python of 3.11-3.13 that is there and can make environments: python3 where it fits.
.venv/ready: requirements.lock
	@bash setup.sh

.colab-ready: colab.sh
	@bash colab.sh && touch $@

.colab-tests: colab.sh
	@bash colab.sh tests && touch $@
