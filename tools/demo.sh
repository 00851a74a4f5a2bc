#!/usr/bin/env bash
# The main job on a fresh machine: sets up everything, then recognises people in a video.
# With --web: a live scene with the same two people, on the operator's page in the browser.
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"
if [ "${1:-}" = "--web" ]; then
    shift
    setup_env pc,demo,web
    exec python tools/demo_web.py "$@"
fi
setup_env pc,demo
exec python tools/demo.py "$@"
