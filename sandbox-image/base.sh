#!/usr/bin/env bash
# Make a base image from Debian packages, for places without an image registry.
# Usage: base.sh NAME. Needs mmdebstrap and podman; takes about half a minute.
set -euo pipefail
name=${1:-localhost/evocodec-base:bookworm}
for tool in mmdebstrap podman; do
  command -v "$tool" >/dev/null || { echo "a local base needs $tool; on Debian: apt-get install $tool" >&2; exit 69; }
done
tar=$(mktemp --suffix=.tar)
trap 'rm -f "$tar"' EXIT
mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
  --aptopt='APT::Install-Recommends "false"' bookworm "$tar"
podman import --quiet "$tar" "$name"
