#!/usr/bin/env bash
# Run the image's interpreter with everything taken away that a worker does not need:
#   run.sh [ARGUMENT…]      e.g. run.sh -c 'import numpy' · run.sh - <program.py
# Settings: IMAGE; TOOL, podman or docker; RUN_FLAGS, more flags for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tool=${TOOL:-$(command -v podman || command -v docker)} || { echo "this needs podman or docker" >&2; exit 69; }
flags=(
  --rm --interactive
  --user 65532:65532
  --cap-drop all
  --security-opt no-new-privileges
  --security-opt "seccomp=$here/seccomp.json"
  --read-only
  --tmpfs /tmp:rw,noexec,nosuid,nodev,size=256m
  --network none
  --memory 4g
  --pids-limit 512
  --ulimit nofile=1024:4096
  --ulimit nproc=512:512
)
# Where control groups are a mixture of both versions, crun refuses to start and runc does not.
if [ "$(basename "$tool")" = podman ] && command -v runc >/dev/null; then
  flags+=(--runtime runc)
fi
# shellcheck disable=SC2086 # RUN_FLAGS is meant to be split
exec "$tool" run "${flags[@]}" ${RUN_FLAGS:-} "${IMAGE:-evocodec-sandbox:dev}" "$@"
