# What building either image takes; its build.sh sets these and sources this file:
#   root        the project's folder
#   image       the name to give
#   python      a Python 3.11 with pip
#   files       what the Dockerfile copies, and itself
#   locks       what WHEELS=fetch downloads
#   arguments   arguments for the builder, such as --build-arg NAME=VALUE
# Settings from the environment: BASE, WHEELS and BUILD_FLAGS, as build.sh describes them.
# shellcheck shell=bash disable=SC2154 # those are set by who sources this
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/wheels" "$context/evocodec" "$context/source"
cp "${files[@]}" "$context"

# From a copy, because setuptools builds in its source folder and packs what it finds there.
for part in pyproject.toml README.md LICENSE evocodec agents graph; do
  cp -r "$root/$part" "$context/source/"
done
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$context/evocodec" "$context/source"
version=$(basename "$context"/evocodec/*.whl | cut -d- -f2)
rm -rf "$context/source"

arguments+=(--build-arg "VERSION=$version")
arguments+=(--build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)")
if [ "${WHEELS:-}" = fetch ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "WHEELS=fetch needs PYTHON=python3.11, the version in the image")'
  for lock in "${locks[@]}"; do
    "$python" -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
      --dest "$context/wheels" -r "$lock"
  done
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
