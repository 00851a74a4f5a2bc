#!/usr/bin/env bash
# Puts jetson-face on a Jetson: the system's packages, an environment in /opt, the program, pycuda.
# Usage: sudo bash tools/install_jetson.sh [--dry-run] [--without-pycuda] [--extras LIST] [--wheel FILE]
#   --dry-run         only says what would be done; needs no sudo
#   --without-pycuda  CUDA is reached through the driver's own library, which does the same
#   --extras LIST     besides `jetson`, as in mqtt,eval
#   --wheel FILE      a built jetson-face, instead of the source folder that this script lies in
# Harmless when repeated: what is done stays, and it is also how to update. PREFIX in the
# environment is the program's folder (default: /opt/jetson-face); with ROOT, a folder that stands
# for the board, it only says what would be done.
# Exit code: 0 it is installed, 1 a step failed, 2 wrong use, 3 this board cannot run it.
set -euo pipefail
umask 022 # the service is another user, and must read what root puts there

root=${ROOT:-}
prefix=${PREFIX:-/opt/jetson-face}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
debs=(python3-venv python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav
    libgomp1)
dry=${root:+yes} pycuda=yes extras='' wheel=''

usage() { sed -n '3,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
    case $1 in
    "--dry-run") dry=yes ;;
    "--without-pycuda") pycuda='' ;;
    "--extras" | "--wheel")
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        if [ "$1" = --extras ]; then extras=$2; else wheel=$2; fi
        shift
        ;;
    -h | --help) usage; exit 0 ;;
    *) echo "install_jetson: unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

cannot() { echo "install_jetson: $1" >&2; exit 3; }
failed() { echo "install_jetson: $1" >&2; exit 1; }
line() { printf '%14s  %s\n' "$1" "$2"; }

step() { # WHAT NEEDED(yes or empty) COMMAND...
    if [ -z "$2" ]; then
        line 'as it is' "$1"
    elif [ -n "$dry" ]; then
        line 'would be done' "$1"
    else
        "${@:3}" || failed "$1: failed"
        line 'done' "$1"
    fi
}

try() { # like step, but the installation goes on where it fails; WHAT NEEDED WITHOUT COMMAND...
    if [ -z "$2" ] || [ -n "$dry" ]; then
        step "$1" "$2"
    elif "${@:4}"; then
        line 'done' "$1"
    else
        line 'not done' "$1: $3"
        return 1
    fi
}

check_board() { # sets l4t and cuda, or ends with what this board can do
    local release model number
    release=$(head -1 "$root/etc/nv_tegra_release" 2>/dev/null || true)
    model=$({ tr -d '\0' <"$root/proc/device-tree/model"; } 2>/dev/null || true)
    number=$(sed -nE 's/^# R([0-9]+) \(release\), REVISION: ([0-9]+)(\.[0-9]+)?.*/\1.\2/p' <<<"$release")
    [ -n "$number" ] || cannot "this is not a Jetson (no /etc/nv_tegra_release that can be read): on a PC make an environment and run pip install '.[pc]', see docs/installer.md"
    l4t=$number
    case $number in
    [1-9].* | [12]?.* | 32.*)
        cannot "JetPack 4 (Jetson Linux $number, ${model:-Nano, TX2 or Xavier}) has Python 3.6 and TensorRT 8: jetson-face cannot run on it, and Nano and TX2 get no later JetPack. Use the board as a network camera (an RTSP server on it), and run jetson-face on a PC or an Orin" ;;
    33.* | 34.* | 35.*)
        case $model in
        *Xavier*) cannot "JetPack 5 (Jetson Linux $number) on $model has Python 3.8 and TensorRT 8.5, and Xavier gets no later JetPack: use the board as a network camera (an RTSP server on it), and run jetson-face on a PC or an Orin" ;;
        *) cannot "JetPack 5 (Jetson Linux $number) on ${model:-this board} has Python 3.8 and TensorRT 8.5: flash JetPack 6.1 or later (Orin can; Xavier cannot and stays as a network camera), then run this again" ;;
        esac ;;
    36.[0-3]) cannot "JetPack 6.0 (Jetson Linux $number) has TensorRT 8.6: flash JetPack 6.1 or later, then run this again" ;;
    36.*) cuda=12-6 ;;
    38.*) cuda=13-0 ;;
    39.*) cuda=13-2 ;;
    *) cuda=13-2; echo "install_jetson: Jetson Linux $number is newer than what this script knows (36.4 to 39.2): going on as for 39.2" >&2 ;;
    esac
    echo "${model:-a Jetson}, Jetson Linux $l4t"
}

lacking() { # those of the packages that are not installed
    local name
    for name in "$@"; do
        dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}' "$name" 2>/dev/null |
            grep -q 'ok installed' || echo "$name"
    done
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null 2>&1 || true # one list that fails is not all of them
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

environment_differs() { # no environment, of another Python, or blind for the system's packages
    local at=$root$prefix
    [ -x "$at/bin/python" ] || return 0
    grep -q '^include-system-site-packages = true' "$at/pyvenv.cfg" || return 0
    [ "$("$at/bin/python" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" != \
        "$(/usr/bin/python3 -c 'import sys; print(sys.version_info[:2])')" ]
}

check_prefix() { # make_environment removes the folder: it must be an environment, or hold nothing
    local at=$root$prefix why=''
    case $prefix in
    /*) [ -e "$at/pyvenv.cfg" ] || [ -z "$(ls -A "$at" 2>/dev/null)" ] ||
        why="holds other things than an environment of Python" ;;
    *) why="is not an absolute path" ;;
    esac
    [ -z "$why" ] || { echo "install_jetson: PREFIX $prefix $why: name a folder of its own, as in PREFIX=/opt/jetson-face" >&2; exit 2; }
}

make_environment() {
    rm -rf "${prefix:?}"
    /usr/bin/python3 -m venv --system-site-packages "$prefix"
}

fingerprint() { # of what would be installed
    if [ -n "$wheel" ]; then
        echo "$extras $(sha256sum "$wheel" | cut -c1-64)"
    else
        echo "$extras $(cd "$source" && find setup.py README.md jetson_face engines configs systemd \
            -type f ! -name '*.pyc' ! -path '*/cache/*' -print0 | sort -z | xargs -0 sha256sum |
            sha256sum | cut -c1-64)"
    fi
}

pip_install() { "$prefix/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

install_program() {
    local what=${wheel:-$source}
    # A wheel of the same version is a newer build of it, as often as not.
    [ -z "$wheel" ] || pip_install --no-deps --force-reinstall "$wheel"
    pip_install "${what}[jetson${extras:+,$extras}]" || return 1
    # What the environment takes from the system must go with what pip brought.
    "$prefix/bin/python" -c 'import cv2, numpy, onnx, onnxruntime, gi' || {
        echo "install_jetson: numpy $("$prefix/bin/python" -c 'import numpy; print(numpy.__version__, "of", numpy.__file__)' 2>&1 | tail -1) and the packages beside it do not go together" >&2
        return 1
    }
    fingerprint >"$prefix/installed"
}

has_toolkit() { # what compiling pycuda needs beside a compiler
    local at=/usr/local/cuda
    [ -x "$at/bin/nvcc" ] && [ -e "$at/include/cuda.h" ] && [ -e "$at/include/curand.h" ] &&
        [ -e "$at/include/cudaProfiler.h" ]
}

build_pycuda() { # with its own log: a compiler says a lot
    local at=/usr/local/cuda log=$prefix/pycuda.log lib=/usr/lib/aarch64-linux-gnu
    has_toolkit || { echo "no nvcc, cuda.h, curand.h and cudaProfiler.h in $at" >"$log"; return 1; }
    CUDA_ROOT=$at PATH=$at/bin:$PATH CPATH=$at/include:${CPATH:-} \
        LIBRARY_PATH=$at/lib64:$at/lib64/stubs:$lib/tegra:$lib/nvidia:${LIBRARY_PATH:-} \
        "$prefix/bin/python" -m pip install --disable-pip-version-check --no-cache-dir \
        --force-reinstall --no-deps 'pycuda>=2024.1' >"$log" 2>&1 || return 1
    pip_install 'pycuda>=2024.1' >>"$log" 2>&1 || return 1 # its small requirements
    "$prefix/bin/python" -c 'import pycuda.driver' >>"$log" 2>&1
}

pycuda_works() { "$root$prefix/bin/python" -c 'import pycuda.driver' >/dev/null 2>&1; }

check_board
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || { echo "install_jetson: it changes the system: run it with sudo, or with --dry-run" >&2; exit 2; }
check_prefix
[ -z "$wheel" ] || [ -f "$wheel" ] || { echo "install_jetson: there is no file $wheel" >&2; exit 2; }

mapfile -t missing < <(lacking "${debs[@]}")
step "packages ${missing[*]:-${debs[*]}}" "${missing[*]:+yes}" apt_install "${missing[@]}"

bindings=''
/usr/bin/python3 -c 'import tensorrt' >/dev/null 2>&1 || bindings=yes
try "TensorRT for Python (python3-libnvinfer)" "$bindings" \
    "networks run on the CPU until it is there: sudo apt install nvidia-jetpack" \
    apt_install python3-libnvinfer || true

again=''
environment_differs && again=yes
step "environment $prefix (Python $(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'), with the system's packages)" "$again" make_environment
changed=''
[ "$(cat "$root$prefix/installed" 2>/dev/null)" = "$(fingerprint)" ] || changed=yes
step "jetson-face with the extras jetson${extras:+,$extras}" "$changed" install_program
link=/usr/local/bin/jetson-face
linked=yes
[ "$(readlink "$root$link" 2>/dev/null)" != "$prefix/bin/jetson-face" ] || linked=''
step "/usr/local/bin/jetson-face" "$linked" ln -sfn "$prefix/bin/jetson-face" "$link"

if [ -n "$pycuda" ] && ! pycuda_works; then
    mapfile -t missing < <(lacking g++ python3-dev)
    has_toolkit || missing+=("cuda-nvcc-$cuda" "cuda-cudart-dev-$cuda" "cuda-driver-dev-$cuda"
        "cuda-profiler-api-$cuda" "libcurand-dev-$cuda")
    without="CUDA is reached through the driver's own library, which does the same"
    if try "what compiles pycuda (${missing[*]:-g++, headers, nvcc})" "${missing[*]:+yes}" \
        "$without" apt_install "${missing[@]}"; then
        try "pycuda" yes "see $prefix/pycuda.log; $without" build_pycuda || true
    fi
elif [ -n "$pycuda" ]; then
    step "pycuda" ''
fi

[ -n "$dry" ] || { echo; "$prefix/bin/jetson-face" doctor || true; }
[ -n "$dry" ] || echo "next: configs/jetson-orin.yaml is where to begin, docs/installer.md goes on"
