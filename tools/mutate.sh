#!/usr/bin/env bash
# Changes the code in one place after another and runs the tests that come by there: what nobody
# notices is listed at the end. Which code and which tests: [tool.mutmut] in pyproject.toml.
#
#     bash tools/mutate.sh                          # everything; goes on where it was stopped
#     bash tools/mutate.sh 'jetson_face.track*'     # one file
#     python -m mutmut show NAME                    # what was changed, of one that is listed
#
# JOBS: processes side by side (1). It takes about two hours on one core.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/bin/activate 2>/dev/null || true
nice -n 19 python -m mutmut run --max-children "${JOBS:-1}" "$@"
python -m mutmut results
