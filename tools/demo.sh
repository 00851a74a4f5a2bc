#!/usr/bin/env bash
# The main job on a fresh machine: sets up everything, then recognises people in a video.
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"
setup_env pc,demo
exec python tools/demo.py "$@"
