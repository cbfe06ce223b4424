# make demo    a full 3D head from a public-domain portrait
# make test    the test suite
# make lint    style and types
# make docs    the site of the documentation with the API reference, in build/site, and the picture of the layers
# make clean   removes everything that the other targets made
#
# Each sets up .venv first. Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Python compiles what it imports when it first does: to compile everything here would take most of the installation.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt
# What pyproject.toml lists, but for MediaPipe, whose own requirements ask for an old numpy and for a gigabyte more.
LISTED := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	extra = project["optional-dependencies"]; \
	print(*[name for name in project["dependencies"] + extra["dev"] + extra["docs"] if not name.startswith("mediapipe")], sep="\n")
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))

.PHONY: demo test lint docs clean

demo: $(INSTALLED)
	$(BIN)/python -m protome.portrait build/astronaut.png
	$(BIN)/protome reconstruct build/astronaut.png --out build/demo
	@echo "The head is in build/demo: open head.glb in any 3D viewer, or look at preview.png first."

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python docs/layers.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/api.py

clean:
	rm -rf .venv build dist src/protome.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "$(SUITABLE)" 2>/dev/null || { \
		echo "Protome needs Python 3.11 or 3.12, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing):" \
		"install one of them and run make again with PYTHON=python3.12 (or python3.11)."; exit 1; }
	@echo "Setting up .venv; the first time takes some minutes."
	@rm -f $@
	@$(BIN)/python -c "$(SUITABLE)" 2>/dev/null || $(PYTHON) -m venv --clear .venv || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module" \
		"(on Debian and Ubuntu the package python3-venv) and run make again."; exit 1; }
# setuptools comes first and builds without isolation, so that it is pinned like everything else. MediaPipe comes
# without its own requirements; those that it uses to find faces are named here. The evaluator that tests compare with,
# h3ds, asks for another OpenCV and for a downloader: it lies apart, where only its test finds it.
	$(PIP) setuptools
	@$(BIN)/python -c '$(LISTED)' > .venv/requirements.txt
	$(PIP) --requirement .venv/requirements.txt opencv-python-headless absl-py attrs flatbuffers 'protobuf>=4.25.3,<5'
	$(PIP) --no-deps --no-build-isolation --editable .
	$(PIP) --no-deps mediapipe
	$(PIP) --no-deps --upgrade --target .venv/apart h3ds
	@touch $@
