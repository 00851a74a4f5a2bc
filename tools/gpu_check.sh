#!/usr/bin/env bash
# Checks TensorRT on a machine with an NVIDIA GPU: builds, parity, contract suite, timings, memory,
# end to end. Writes gpu_check.json and prints one table.
#
#   tools/gpu_check.sh [--wheels DIR] [--out DIR] [--dry-run] [options of tools/gpu_check.py]
#
# --wheels DIR: install these wheel files, and nothing else, into a folder of their own; for a
# machine without network. Without it the Python at hand is used as it is. Made elsewhere with
#   pip wheel -w DIR '.[pc]' tensorrt-cu12 pytest pytest-timeout hypothesis psutil
# pycuda has no wheels; without it the driver's own library is used.
# --dry-run: the whole script with a simulated GPU; its figures mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
out=gpu-check wheels=""
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --wheels) wheels=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        -h | --help) sed -n '2,12p' "$0"; exit 0 ;;
        *) options+=("$1"); shift ;;
    esac
done
mkdir -p "$out"
python=$(command -v python3 || command -v python)
if [ -n "$wheels" ]; then
    site="$out/site"
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$site" \
        "$wheels"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if ! "$python" -c 'import pycuda.driver' 2>"$out/pycuda.log"; then
    echo "pycuda cannot be imported, libcuda is used: $(tail -1 "$out/pycuda.log")"
    echo "to test it too, on a machine with nvcc: CPATH=/usr/local/cuda/include LIBRARY_PATH=/usr/local/cuda/lib64 pip install pycuda"
fi
exec "$python" tools/gpu_check.py --out "$out" --cache "$out/plans" ${options[@]+"${options[@]}"}
