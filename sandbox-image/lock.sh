#!/usr/bin/env bash
# Write the three lock files from the .in files and ../constraints.txt. Needs `uv` on the PATH.
# The CPU build of torch is locked only where pip finds it: set UV_FIND_LINKS or UV_EXTRA_INDEX_URL.
set -euo pipefail
cd "$(dirname "$0")"
compile() {
  uv pip compile --quiet --generate-hashes --no-header --no-annotate \
    --python-version 3.11 --python-platform "${PLATFORM:-x86_64-manylinux_2_28}" "$@"
}
plain=$(mktemp)
trap 'rm -f "$plain"' EXIT
grep -v '^torch==' ../constraints.txt >"$plain"
compile requirements.in --constraints "$plain" --output-file requirements.lock

version=$(sed -n 's/^torch==//p' ../constraints.txt)
# Without the places for CPU builds: pip and uv take those for newer than the plain version.
UV_FIND_LINKS='' UV_EXTRA_INDEX_URL='' compile torch.in --constraints ../constraints.txt --constraints requirements.lock \
  --output-file torch-cuda.lock
if echo "torch==$version+cpu" | compile - --constraints "$plain" --constraints requirements.lock \
  --output-file torch-cpu.lock.new; then
  mv torch-cpu.lock.new torch-cpu.lock
else
  rm -f torch-cpu.lock.new
  echo "torch $version+cpu is not offered here: torch-cpu.lock stays as it was" >&2
fi
