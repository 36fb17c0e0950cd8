#!/usr/bin/env bash
# Build the image. Settings, all optional, from the environment:
#   IMAGE          its name                                  (evocodec-sandbox:dev)
#   BASE           the image to build from; `local` makes one with mmdebstrap
#   TORCH          none, cpu or cuda                         (none)
#   WHEELS         a folder of wheels to use instead of an index; `fetch` fills one with PYTHON's pip
#                  first, for builds that may not reach an index themselves
#   PYTHON         a Python 3.11 with pip                    (python3)
#   BUILD_FLAGS    more flags for the builder
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
image=${IMAGE:-evocodec-sandbox:dev}
torch=${TORCH:-none}
python=${PYTHON:-python3}
case $torch in none | cpu | cuda) ;; *) echo "TORCH is none, cpu or cuda, not $torch" >&2; exit 64 ;; esac

files=("$here"/Dockerfile "$here"/collect.py "$here"/*.lock)
locks=("$here/requirements.lock")
[ "$torch" = none ] || locks+=("$here/torch-$torch.lock")
arguments=(--build-arg "TORCH=$torch")
. "$root/tools/build-image.sh"
