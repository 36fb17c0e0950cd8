# Targets for the image that candidates run in; included by the Makefile at the top.
# BASE=local builds from a base made here; WHEELS=fetch downloads on this side of the build.
IMAGE ?= evocodec-sandbox:dev
IMAGE_TORCH ?= none
PIP_AUDIT ?= pip-audit

.PHONY: image image-test sbom scan

image: $(VENV)/.base  ## build the image that candidates run in (IMAGE_TORCH=none|cpu|cuda, BASE=..., WHEELS=...)
	IMAGE=$(IMAGE) TORCH=$(IMAGE_TORCH) PYTHON=$(abspath $(BIN)/python) sandbox-image/build.sh

image-test: $(VENV)/.dev  ## check the built image from inside, locked down
	EVOCODEC_IMAGE=$(IMAGE) $(BIN)/python -m pytest -q tests/integration/test_sandbox_image.py

sbom:  ## write build/sbom.cdx.json, what the built image contains (CycloneDX)
	mkdir -p build
	IMAGE=$(IMAGE) sandbox-image/run.sh - <sandbox-image/sbom.py >build/sbom.cdx.json
	@echo "build/sbom.cdx.json: $$(grep -c '"purl"' build/sbom.cdx.json) components"

scan:  ## look up known vulnerabilities of the locked packages; asks an advisory service
	@command -v $(PIP_AUDIT) >/dev/null || { echo "scan needs pip-audit: pip install pip-audit, or name it: make scan PIP_AUDIT=..." >&2; exit 69; }
	$(PIP_AUDIT) --strict --disable-pip --require-hashes -r sandbox-image/requirements.lock
	@if command -v grype >/dev/null && test -f build/sbom.cdx.json; then grype sbom:build/sbom.cdx.json; \
	else echo "Debian packages were not looked up: that needs grype, and 'make sbom' before"; fi
