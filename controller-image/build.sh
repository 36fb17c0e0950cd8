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

files=("$here"/Dockerfile "$here"/requirements.lock "$root"/sandbox-image/collect.py)
locks=("$here/requirements.lock")
arguments=()
. "$root/tools/build-image.sh"
