#!/usr/bin/env bash
# One command for the first Jetson: what doctor says, tools/gpu_check.sh (builds, parity, contract,
# times), each camera that is there, and a table of predicted beside measured (engines/JETSON.md).
#   tools/board_check.sh [--out DIR] [--rtsp URI] [--board NAME] [--dry-run] [--list]
# --dry-run: the whole script with a simulated GPU and a made camera; its figures mean nothing.
# --list: only prints the commands that would be run.
# Needs jetson-face installed (tools/install_jetson.sh) or the environment active. About 15 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=board-check rtsp="" dry="" list="" board=()
while [ $# -gt 0 ]; do
    case "$1" in
        --out | --rtsp | --board)
            [ $# -ge 2 ] || { echo "board_check: $1 needs a value" >&2; exit 2; }
            case "$1" in
                --out) out=$2 ;;
                --rtsp) rtsp=$2 ;;
                --board) board=(--board "$2") ;;
            esac
            shift 2
            ;;
        --dry-run) dry=--dry-run; shift ;;
        --list) list=yes; shift ;;
        -h | --help) sed -n '2,7p' "$0"; exit 0 ;;
        *) echo "board_check: unknown argument $1" >&2; exit 2 ;;
    esac
done
# shellcheck disable=SC1091
if [ -n "${VIRTUAL_ENV:-}" ]; then :
elif [ -e /opt/jetson-face/bin/activate ]; then . /opt/jetson-face/bin/activate
elif [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi
python=$(command -v python || command -v python3)
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
config=configs/jetson-orin.yaml
if [ -n "$dry" ]; then
    config=configs/demo.yaml
    [ ${#board[@]} -gt 0 ] || board=(--board "AGX Orin 64GB")
fi
[ -n "$list" ] || mkdir -p "$out"

logged() { # LOG COMMAND...: run it, or say that it would be
    local log=$1
    shift
    if [ -n "$list" ]; then
        printf '%s' "would run:"
        printf ' %q' "$@"
        printf ' >%q\n' "$log"
    else
        case "$log" in
            *.log) "$@" >"$log" 2>&1 ;;
            *) "$@" >"$log" ;;
        esac
    fi
}
show() { # LOG LINES
    [ -n "$list" ] || tail -n "$2" "$1"
}

echo "== doctor"
logged "$out/doctor.txt" "$python" -m jetson_face doctor -c "$config" --all || true # finds problems
show "$out/doctor.txt" 100
echo "== GPU"
options=(--out "$out" -c "$config")
[ -n "$dry" ] || options+=(--set "engines.frame_size=[1280, 720]")
[ -z "$dry" ] || options+=(--dry-run --precisions fp16 --runs 10)
logged "$out/gpu_check.log" bash tools/gpu_check.sh "${options[@]}" ||
    echo "board_check: gpu_check failed in part: see $out/gpu_check.log"
show "$out/gpu_check.log" 20

runs=()
camera() { # PATH SOURCE: as a person would run it
    echo "== camera $1"
    if logged "$out/$1.log" "$python" -m jetson_face run "$2" -c "$config" --set "state_dir=$out/state" \
        --frames "${FRAMES:-300}" --quiet --report "$out/$1.json"; then
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
        [ -e "$device" ] || continue
        # CSI sensors have a node, too, which gives raw Bayer frames.
        ! grep -qiE 'vi-output|tegra' "/sys/class/video4linux/$(basename "$device")/name" 2>/dev/null || continue
        camera usb "$device"
        break
    done
fi
[ -z "$rtsp" ] || camera rtsp "$rtsp"

echo "== predicted beside measured"
failed=0
logged "$out/predicted.json" "$python" tools/roofline.py --embed engines/squeezenet_face.onnx --json || failed=1
logged "$out/board_check.md" "$python" tools/board_table.py --predicted "$out/predicted.json" \
    --measured "$out/gpu_check.json" ${board[@]+"${board[@]}"} ${runs[@]+"${runs[@]}"} || failed=1
show "$out/board_check.md" 100
[ -n "$list" ] || echo "please send $out/board_check.md, $out/gpu_check.json and $out/doctor.txt"
exit "$failed"
