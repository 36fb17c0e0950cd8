#!/usr/bin/env bash
# Write requirements.lock from requirements.in and ../constraints.txt. Needs `uv` on the PATH.
set -euo pipefail
cd "$(dirname "$0")"
plain=$(mktemp)
trap 'rm -f "$plain"' EXIT
grep -v '^torch==' ../constraints.txt >"$plain"
uv pip compile --quiet --generate-hashes --no-header --no-annotate \
  --python-version 3.11 --python-platform "${PLATFORM:-x86_64-manylinux_2_28}" \
  requirements.in --constraints "$plain" --output-file requirements.lock
