#!/usr/bin/env bash
# What of a Jetson can be shown without one: installs the wheel with tools/install_jetson.sh on a
# Debian of a Jetson's architecture (run by emulation), whose cv2 is built against numpy 1 as
# JetPack's is, and runs the program there: doctor, the unit tests that need no GPU, enroll,
# identify, 60 frames of the demo as pictures. The same events as here are wanted, and similarities
# within 0.002. From the video file itself they may be 0.01 apart: FFmpeg's conversion to BGR is
# another on each processor (62 % of the values of a frame differ, by up to 3). Prints one table.
# Needs root and, for arm64 on a PC, half an hour for all but the unit tests, which take some twenty
# times as long as here. Says in one line when it was not run and why, and exits 0 then; what fails
# exits 1.
# Usage: tools/test_jetson.sh [--dry-run] [DIR [PYTEST ARGUMENTS]]
#   --dry-run  only says what would be done, and checks that what it needs of the repository is there
#   DIR    keeps for the next run the Debian as it was made, and the wheels (default: .jetson)
#   ARCH   in the environment: arm64 (default), or this machine's own for the JetPack stand-in only
#   WHEEL  the wheel to install (default: built from what git has in HEAD)
#   TESTS  what pytest runs there, one process each (default: all folders that need no GPU, no
#          network and nothing beyond the extras pc, dlib, jetson and mqtt); none: no unit tests
#   LIMIT  seconds for each of TESTS (default: 7200)
#   JOBS   how many of TESTS run at once (default: 1)
#   SUITE, MIRROR: what mmdebstrap takes (default: bookworm, the machine's own sources)
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"

arch=${ARCH:-arm64}
suite=${SUITE:-bookworm}
dry=""
if [ "${1:-}" = --dry-run ]; then dry=yes; shift; fi
cache=$(realpath -m "${1:-.jetson}")
# What takes least comes first. Left out: web, archive and fleet (their own extras), training (PyTorch),
# house and fuzz (tools for this machine).
read -r -d '' -a tests <<<"${TESTS:-tests/core tests/calibration tests/recognition tests/models
    tests/embedding tests/privacy tests/review tests/events tests/config tests/util tests/capture
    tests/detection tests/inference tests/doctor tests/live tests/output tests/api tests/factory
    tests/gallery tests/cli tests/benchmark tests/evaluation tests/tools tests/service}" || true
limit=${LIMIT:-7200}
jobs=${JOBS:-1}
test_packages=(pytest pytest-timeout hypothesis psutil jsonschema jinja2 scikit-image scikit-learn
    matplotlib)
packages=ca-certificates,python3-venv,python3-pip,python3-gi,python3-opencv,libgomp1
packages+=,gir1.2-gst-plugins-base-1.0,gstreamer1.0-plugins-base,gstreamer1.0-plugins-good
packages+=,gstreamer1.0-plugins-bad,gstreamer1.0-libav,gir1.2-gst-rtsp-server-1.0
begun=$SECONDS
python3=/opt/jetson-face/bin/python
declare -A platform=([arm64]=aarch64 [amd64]=x86_64)

skip() { echo "test_jetson: NOT RUN: $1"; exit 0; }

emulate() { # let the kernel run programs of that architecture
    [ -d "/proc/sys/fs/binfmt_misc" ] || return 1
    [ -e /proc/sys/fs/binfmt_misc/register ] ||
        mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || return 1
    [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] ||
        cat /usr/lib/binfmt.d/qemu-aarch64.conf >/proc/sys/fs/binfmt_misc/register
}

box() { # COMMAND...: in the root, with /proc and /dev; with /sys ONNX Runtime crashed by emulation
    unshare --mount --pid --fork --kill-child nice -n 15 bash -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
        # Not by exec: this shell is what reaps processes whose parents were killed.
        chroot "$root" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LANG=C.UTF-8 PIP_NO_INDEX=1 PIP_FIND_LINKS=/opt/wheels \
            PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$@" || exit
        exit 0
    ' box "$cache/root" "$@" </dev/null
}

missing=()
for name in tools/install_jetson.sh tools/compare_runs.py tools/demo_clip.py configs/demo.yaml "${tests[@]}"; do
    [ "$name" = none ] || [ -e "${name%%::*}" ] || missing+=("$name")
done
[ ${#missing[@]} = 0 ] || { echo "test_jetson: there is no ${missing[*]}" >&2; exit 1; }
if [ -n "$dry" ]; then
    base_state="would be made by mmdebstrap ($suite, $packages)"
    [ ! -d "$cache/base-$arch-$(echo "$suite $packages" | sha256sum | cut -c1-12)" ] || base_state="kept"
    echo "test_jetson: would do this for $arch in $cache:"
    echo "  Debian       $base_state"
    echo "  wheel        ${WHEEL:-built from HEAD}, and its packages [pc,dlib,jetson,mqtt] for $arch by pip download"
    echo "  install      tools/install_jetson.sh, twice"
    echo "  demo         60 frames as pictures (within 0.002) and of the video file (within 0.01), there and here"
    echo "  unit tests   ${tests[*]}, at most $limit s each"
    exit 0
fi
[ "$(uname -s)" = Linux ] || skip "this is not Linux"
[ "$(id -u)" = 0 ] || skip "making a Debian needs root: sudo tools/test_jetson.sh"
[ -n "${platform[$arch]:-}" ] || skip "ARCH is arm64 or amd64, not $arch"
need_debs mmdebstrap qemu-user-static
command -v mmdebstrap >/dev/null || skip "there is no mmdebstrap, and it cannot be installed"
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces are not allowed here"
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    emulate || skip "the kernel cannot be told to emulate $arch (binfmt_misc)"
fi
# shellcheck disable=SC1091
[ ! -e .venv/bin/activate ] || . .venv/bin/activate
python -c 'import jetson_face, skimage' 2>/dev/null || setup_env pc,demo,dev

mkdir -p "$cache/wheels-$arch"
exec 9>"$cache/lock"
flock --nonblock 9 || skip "another run uses $cache"

base=$cache/base-$arch-$(echo "$suite $packages" | sha256sum | cut -c1-12)
if [ ! -d "$base" ]; then
    rm -rf "$cache/base-$arch"-*
    nice -n 15 timeout 3000 mmdebstrap --arch="$arch" --variant=minbase --include="$packages" \
        "$suite" "$base.new" ${MIRROR:+"$MIRROR"} >"$cache/mmdebstrap.log" 2>&1 ||
        skip "mmdebstrap: $(grep . "$cache/mmdebstrap.log" | tail -1)"
    mv "$base.new" "$base"
fi

if [ -z "${WHEEL:-}" ]; then
    rm -rf "$cache/src" "$cache/dist"
    mkdir -p "$cache/src"
    git archive HEAD | tar x -C "$cache/src"
    python -m pip wheel --quiet --no-deps "$cache/src" -w "$cache/dist"
    WHEEL=$(ls "$cache"/dist/*.whl)
fi
version=$(chroot "$base" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wanted=$cache/wheels-$arch/$version-$(cat setup.py tools/test_jetson.sh | sha256sum | cut -c1-16)
if [ ! -e "$wanted" ]; then
    rm -rf "${cache:?}/wheels-$arch"/*
    tags=()
    for glibc in manylinux_2_36 manylinux_2_35 manylinux_2_34 manylinux_2_31 manylinux_2_28 \
        manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014; do
        tags+=(--platform "${glibc}_${platform[$arch]}")
    done
    timeout 900 python -m pip download -qq --only-binary=:all: --python-version "$version" \
        "${tags[@]}" -d "$cache/wheels-$arch" "${WHEEL}[pc,dlib,jetson,mqtt]" \
        "${test_packages[@]}" setuptools wheel 2>"$cache/download.log" ||
        skip "its packages for $arch: $(grep . "$cache/download.log" | tail -1)"
    rm -f "$cache/wheels-$arch"/jetson_face-*.whl
    touch "$wanted"
fi

rm -rf "$cache/root"
cp -a --reflink=auto "$base" "$cache/root"
mkdir -p "$cache/root/opt/wheels" "$cache/root/opt/source/tools" "$cache/root/work"
cp "$cache/wheels-$arch"/*.whl "$cache/root/opt/wheels/"
cp "$WHEEL" "$cache/root/opt/"
git archive HEAD | tar x -C "$cache/root/opt/source"
cp tools/install_jetson.sh "$cache/root/opt/source/tools/"
# The line that JetPack 6.2 has there; the board itself is not played.
echo '# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64' \
    >"$cache/root/etc/nv_tegra_release"

rm -f "$cache/table"
row() { printf '| %s | %s |\n' "$1" "$2" >>"$cache/table"; }
wrong=0
fail() { row "$1" "FAILED: $2"; echo "test_jetson: $1: $2" >&2; wrong=1; }

echo "== system's own cv2 before: $(box python3 -c \
    'import cv2, numpy; print("cv2", cv2.__version__, "numpy", numpy.__version__)' 2>&1 | tail -1)"
install=(bash /opt/source/tools/install_jetson.sh --wheel "/opt/$(basename "$WHEEL")")
[ "$arch" = amd64 ] || install+=(--without-pycuda) # a compiler by emulation takes an hour
echo "== install ($arch, $suite)"
if box "${install[@]}" >"$cache/install.log" 2>&1; then
    row "install_jetson.sh" "done"
else
    cat "$cache/install.log" >&2
    fail "install_jetson.sh" "$(tail -1 "$cache/install.log")"
    cat "$cache/table"
    exit 1
fi
cat "$cache/install.log"
box "${install[@]}" >"$cache/again.log" 2>&1 || fail "install_jetson.sh again" "$(tail -1 "$cache/again.log")"
left=$(grep -E '^ +done  ' "$cache/again.log" || true)
if [ -z "$left" ]; then row "install_jetson.sh again" "everything as it is"; else fail "install_jetson.sh again" "$left"; fi
row "numpy and cv2 of the environment" "$(box $python3 -c \
    'import cv2, numpy; print("cv2", cv2.__version__, "from", cv2.__file__.split("/")[1], "numpy", numpy.__version__)')"
row "the system's own cv2 beside that numpy" "$(box $python3 -c \
    'import numpy, sys; sys.path.insert(0, "/usr/lib/python3/dist-packages"); import cv2; print("works")' \
    2>&1 | tail -1)"
box /opt/jetson-face/bin/pip install --quiet "/opt/$(basename "$WHEEL")[pc,dlib,mqtt]" ||
    fail "extras pc, dlib and mqtt beside jetson" "pip"
box /opt/jetson-face/bin/jetson-face doctor >"$cache/doctor.log" 2>&1 || true
if grep -q 'back ends: *working: onnxruntime' "$cache/doctor.log"; then
    row "doctor" "$(wc -l <"$cache/doctor.log") lines, $(grep 'back ends' "$cache/doctor.log" | sed 's/.*ends: *//')"
else
    fail "doctor" "no back end: $(tail -1 "$cache/doctor.log")"
fi

echo "== 60 frames of the demo, there and here, as pictures and as a video file"
PYTHONPATH=$PWD:$PWD/tools python - "$cache" <<'PYTHON'
import sys
from pathlib import Path

import demo_clip

clip = Path(sys.argv[1]) / "clip.mp4"
if not clip.exists():
    demo_clip.make(clip)
demo_clip.save_people(Path(sys.argv[1]) / "people")
frames = Path(sys.argv[1]) / "frames"
if not frames.exists():
    import cv2

    frames.mkdir()
    video = cv2.VideoCapture(str(clip))
    for number in range(60):
        cv2.imwrite(str(frames / f"{number:03}.png"), video.read()[1])
PYTHON
cp -r "$cache/clip.mp4" "$cache/frames" "$cache/people" configs/demo.yaml "$cache/root/work/"
script='set -eu; cd "$1"; program=$2; watched=$3; shift 3
    rm -rf state events.jsonl
    set -- -c demo.yaml --set state_dir=state
    "$program" enroll people "$@"
    "$program" identify people/*/* --json "$@" >identify.json
    "$program" run "$watched" --frames 60 --events events.jsonl --report report.json --quiet "$@" >run.log'
rm -rf "$cache/here"
mkdir -p "$cache/here"
cp -r "$cache/clip.mp4" "$cache/frames" "$cache/people" configs/demo.yaml "$cache/here/"
both() { # WHAT SOURCE COSINE: run it there and here, and compare
    sh -c "$script" demo "$cache/here" jetson-face "$2" >"$cache/here.log" 2>&1
    if ! box sh -c "$script" demo /work /opt/jetson-face/bin/jetson-face "$2" 2>"$cache/demo.log"; then
        fail "$1" "$(tail -1 "$cache/demo.log")"
    elif python tools/compare_runs.py "$cache/here" "$cache/root/work" --within "$3" \
        >"$cache/compared" 2>&1; then
        row "$1" "$(paste -sd';' "$cache/compared" | sed 's/;/; /')"
    else
        fail "$1" "$(paste -sd';' "$cache/compared")"
    fi
}
both "60 frames as pictures, enroll, identify" 'sequence:frames?fps=25' 0.002
both "60 frames of the video file" clip.mp4 0.01

if [ "${tests[*]}" != none ]; then
    echo "== unit tests by emulation"
    # pip itself takes half an hour by emulation: this one puts that architecture's wheels there.
    python -m pip install -qq --disable-pip-version-check --no-index --find-links "$cache/wheels-$arch" \
        --target "$cache/root/opt/test-site" --only-binary=:all: --python-version "$version" \
        --platform "manylinux_2_28_${platform[$arch]}" --platform "manylinux_2_17_${platform[$arch]}" \
        --platform "manylinux2014_${platform[$arch]}" "${test_packages[@]}"
    # What follows is about the architecture: to the program it is a PC now, without TensorRT.
    rm "$cache/root/etc/nv_tegra_release"
    # Emulated, everything takes some twenty times as long; what is slow here is not run there.
    rm -rf "$cache/root/opt/source/jetson_face"
    mkdir -p "$cache/root/work/tests"
    : >"$cache/tests.log"
    run_tests() { # FOLDER [PYTEST ARGUMENTS]
        box env PYTHONPATH=/opt/test-site JETSON_FACE_TEST_PATIENCE=10 bash -c 'cd /opt/source && exec timeout "$1" "$0" -m pytest \
            -p no:cacheprovider --import-mode=importlib -o timeout=1800 -o console_output_style=count -rs \
            --junitxml="/work/tests/$(echo "$2" | tr -c "a-zA-Z0-9\n" _).xml" "$2" "${@:3}"' \
            $python3 "$limit" "$@" >>"$cache/tests.log" 2>&1 ||
            echo "test_jetson: $1: exit code $?" >>"$cache/tests.log"
    }
    for each in "${tests[@]}"; do
        # One process each: what one of them breaks, or takes too long for, costs the others nothing.
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
        run_tests "$each" "${@:2}" &
    done
    wait
    python - "$cache/root/work/tests" "${tests[@]}" >"$cache/tests.table" <<'PYTHON' || fail "unit tests" "see $cache/tests.log"
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

KEYS = ("tests", "failures", "errors", "skipped")
folder, *wanted = sys.argv[1:]
whole, why, wrong = Counter(), Counter(), []
for each in wanted:
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in each)
    try:
        suite = ElementTree.parse(Path(folder) / f"{name}.xml").getroot().find("testsuite")
    except (OSError, ElementTree.ParseError):
        wrong.append(f"{each}: no result (too slow, or it died)")
        continue
    count = Counter({key: int(suite.get(key)) for key in KEYS})
    whole += count
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    print(f"| {each} | {passed} passed, {count['skipped']} skipped, {failed} failed, "
          f"{float(suite.get('time')):.0f} s |")
    why.update(s.get("message") for s in suite.iter("skipped"))
    for case in suite.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            wrong.append(f"{case.get('classname')}::{case.get('name')}")
failed = whole["failures"] + whole["errors"]
passed = whole["tests"] - failed - whole["skipped"]
print(f"| unit tests | {passed} passed, {whole['skipped']} skipped, {failed} failed |")
for reason, number in why.most_common():
    print(f"| skipped | {number}: {reason} |")
for name in wrong:
    print(f"| failed | {name} |")
sys.exit(passed == 0 or bool(wrong))
PYTHON
    cat "$cache/tests.table" >>"$cache/table"
fi
printf '\n| on %s, Python %s, %s |  |\n|---|---|\n' "$arch" "$version" "$suite"
cat "$cache/table"
echo "test_jetson: RAN in $((SECONDS - begun)) s, exit code $wrong; logs: $cache"
exit $wrong
