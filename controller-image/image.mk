# Targets for the controller's image; included by the Makefile at the top.
# BASE=local builds from a base made here; WHEELS=fetch downloads on this side of the build.
CONTROLLER_IMAGE ?= evocodec-controller:dev

.PHONY: controller-image controller-image-test

controller-image: $(VENV)/.base  ## build the controller's image (BASE=..., WHEELS=...)
	IMAGE=$(CONTROLLER_IMAGE) PYTHON=$(abspath $(BIN)/python) controller-image/build.sh

controller-image-test: $(VENV)/.dev  ## check the built controller image from inside, locked down
	EVOCODEC_CONTROLLER_IMAGE=$(CONTROLLER_IMAGE) $(BIN)/python -m pytest -q tests/integration/test_controller_image.py
