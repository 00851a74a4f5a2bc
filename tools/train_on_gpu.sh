#!/usr/bin/env bash
# One call on a lent GPU. Takes in what came along under runs/gpu/call_*; once all parts of the faces are there, trains
# until SECONDS_MOST are over, a checkpoint every two minutes in $OUT (in pieces of 15 MiB), and is resumed by the next call.
#
#   bash tools/train_on_gpu.sh            call 1, 2, ...: carry runs/gpu/call_N (tools/train_pack.py), and .whl (below)
#
# STORE       what is kept between the calls of one lease (default /tmp/campaign)
# RECIPE      configs/train_campaign_gpu.yaml
# SECONDS_MOST  of this call, all told (default 560)
# What the machine lacks is put into .whl before: pydantic, pydantic-core, annotated-types, typing-inspection.
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
OUT=${OUT:?where the checkpoints go}
STORE=${STORE:-/tmp/campaign}
RECIPE=${RECIPE:-configs/train_campaign_gpu.yaml}
SECONDS_MOST=${SECONDS_MOST:-560}
PYTHON=${PYTHON:-python3}
mkdir -p "$STORE" "$OUT"

if compgen -G '.whl/*.whl' >/dev/null; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$STORE/site" .whl/*.whl
fi
export PYTHONPATH="$PWD:$STORE/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 JETSON_FACE_DATA="$STORE"

for folder in "${CARRIED:-runs/gpu}"/call_*/; do
    [ -d "$folder" ] && cp "$folder"* "$STORE"/
done
"$PYTHON" tools/train_campaign.py -c "$RECIPE" --set "run=$STORE/run" --set "cache=$STORE/cache" "$@" \
    --take-in "$STORE" --resume --copy-to "$OUT" --seconds $((SECONDS_MOST - (SECONDS - began)))
