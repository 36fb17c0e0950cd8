#!/usr/bin/env bash
# Build the controller's image. Settings, all optional, from the environment:
#   IMAGE          its name                                  (evocodec-controller:dev)
#   BASE           the image to build from; `local` makes one with mmdebstrap
#   WHEELS         a folder of wheels to use instead of an index; `fetch` fills one with PYTHON's pip
#                  first, for builds that may not reach an index themselves
#   PYTHON         a Python 3.11 with pip                    (python3)
#   BUILD_FLAGS    more flags for the builder
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
image=${IMAGE:-evocodec-controller:dev}
python=${PYTHON:-python3}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/wheels" "$context/evocodec" "$context/source"
cp "$here"/Dockerfile "$here"/requirements.lock "$root"/sandbox-image/collect.py "$context"

# From a copy, because setuptools builds in its source folder and packs what it finds there.
for part in pyproject.toml README.md LICENSE evocodec agents graph; do
  cp -r "$root/$part" "$context/source/"
done
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$context/evocodec" "$context/source"
version=$(basename "$context"/evocodec/*.whl | cut -d- -f2)
rm -rf "$context/source"

arguments=(--build-arg "VERSION=$version")
arguments+=(--build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)")
if [ "${WHEELS:-}" = fetch ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "WHEELS=fetch needs PYTHON=python3.11, the version in the image")'
  "$python" -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
    --dest "$context/wheels" -r "$here/requirements.lock"
elif [ -n "${WHEELS:-}" ]; then
  cp "$WHEELS"/*.whl "$context/wheels"
fi
[ -z "${WHEELS:-}" ] || arguments+=(--build-arg PIP_NO_INDEX=1)

if [ "${BASE:-}" = local ]; then
  BASE=localhost/evocodec-base:bookworm
  podman image exists "$BASE" || "$root/sandbox-image/base.sh" "$BASE"
fi
[ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")

# shellcheck disable=SC2086 # BUILD_FLAGS is meant to be split
if command -v buildah >/dev/null; then
  # chroot: needs neither a runtime nor cgroups, so it works inside containers and CI.
  buildah build --isolation chroot --network host --format docker ${BUILD_FLAGS:-} \
    "${arguments[@]}" --tag "$image" "$context"
elif command -v docker >/dev/null; then
  docker build ${BUILD_FLAGS:-} "${arguments[@]}" --tag "$image" "$context"
else
  echo "building the image needs buildah or docker; on Debian: apt-get install buildah" >&2
  exit 69
fi
