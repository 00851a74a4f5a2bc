#!/usr/bin/env bash
# One command for the first Jetson: what doctor says, tools/gpu_check.sh (builds, parity, contract,
# times), each camera that is there, and a table of predicted beside measured (engines/JETSON.md).
#   tools/board_check.sh [--out DIR] [--rtsp URI] [--board NAME] [--dry-run]
# --dry-run: the whole script with a simulated GPU and a made camera; its figures mean nothing.
# Needs jetson-face installed (tools/install_jetson.sh) or the environment active. About 15 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=board-check rtsp="" dry="" board=()
while [ $# -gt 0 ]; do
    case "$1" in
        "--out") out=$2; shift 2 ;;
        "--rtsp") rtsp=$2; shift 2 ;;
        "--board") board=(--board "$2"); shift 2 ;;
        "--dry-run") dry=--dry-run; shift ;;
        -h | --help) sed -n '2,6p' "$0"; exit 0 ;;
        *) echo "board_check: unknown argument $1" >&2; exit 2 ;;
    esac
done
mkdir -p "$out"
# shellcheck disable=SC1091
if [ -n "${VIRTUAL_ENV:-}" ]; then :
elif [ -e /opt/jetson-face/bin/activate ]; then . /opt/jetson-face/bin/activate
elif [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi
python=$(command -v python || command -v python3)
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
config=configs/jetson-orin.yaml
[ -z "$dry" ] || config=configs/demo.yaml

echo "== doctor"
"$python" -m jetson_face doctor -c "$config" --all | tee "$out/doctor.txt" || true
echo "== GPU"
bash tools/gpu_check.sh --out "$out" -c "$config" --set engines.frame_size='[1280, 720]' \
    ${dry:+$dry --precisions fp16} >"$out/gpu_check.log" 2>&1 || echo "gpu_check failed in part: see $out/gpu_check.log"
tail -20 "$out/gpu_check.log"

runs=()
camera() { # PATH SOURCE: as a person would run it
    echo "== camera $1"
    if "$python" -m jetson_face run "$2" -c "$config" --set state_dir="$out/state" --frames "${FRAMES:-300}" \
        --quiet --report "$out/$1.json" >"$out/$1.log" 2>&1; then
        runs+=(--run "$1=$out/$1.json")
    else
        echo "camera $1: $(tail -1 "$out/$1.log")"
    fi
}
if [ -n "$dry" ]; then
    FRAMES=20 camera csi "test://?live=1&frames=20&fps=20"
else
    [ ! -S /tmp/argus_socket ] || camera csi csi://0
    for device in /dev/video*; do
        # CSI sensors have a node, too, which gives raw Bayer frames.
        grep -qiE 'vi-output|tegra' "/sys/class/video4linux/$(basename "$device")/name" 2>/dev/null && continue
        [ -e "$device" ] || continue
        camera usb "$device"
        break
    done
fi
[ -z "$rtsp" ] || camera rtsp "$rtsp"

echo "== predicted beside measured"
"$python" tools/roofline.py --embed engines/squeezenet_face.onnx --json >"$out/predicted.json"
"$python" tools/board_table.py --predicted "$out/predicted.json" --measured "$out/gpu_check.json" \
    "${board[@]}" "${runs[@]}" | tee "$out/board_check.md"
echo "please send $out/board_check.md, $out/gpu_check.json and $out/doctor.txt"
