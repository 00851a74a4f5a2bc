#!/usr/bin/env bash
# Boots a real systemd (debootstrap's Debian under systemd-nspawn) with the service installed from
# the wheel, and runs tests/service/test_boot.py against it, then test_boot_web.py with the page and
# test_boot_jetson.py with a Jetson's device nodes and CSI daemon. Needs root. Says in one line when it was not run and why, and exits 0
# then; a test that fails exits 1.
# Usage: tools/test_service.sh [DIR [PYTEST ARGUMENTS]]
#   DIR    keeps for the next run what no test changes: Debian as debootstrap made it, and the
#          downloaded wheels (default: .box; 1.4 GB with the box, which is made anew every time).
#   WHEEL  in the environment: the wheel to install (default: built from what git has in HEAD)
#   SUITE, MIRROR: what debootstrap takes (default: bookworm, Debian's own)
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"

suite=${SUITE:-bookworm}
packages=systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,libglib2.0-0
cache=$(realpath -m "${1:-.box}")
begun=$SECONDS

skip() { echo "test_service: NOT RUN: $1"; exit 0; }
in_root() { # ROOT COMMAND...: run without booting, with the wheels to read
    systemd-nspawn --quiet --register=no --keep-unit -D "$1" \
        --bind-ro="$cache/wheels:/opt/wheels" -- "${@:2}" </dev/null 2>"$cache/nspawn.log" || {
        cat "$cache/nspawn.log" >&2
        return 1
    }
}

[ "$(uname -s)" = Linux ] || skip "this is not Linux"
[ "$(id -u)" = 0 ] || skip "booting a box needs root: sudo tools/test_service.sh"
need_debs debootstrap systemd-container python3-gi gir1.2-gst-rtsp-server-1.0 \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gstreamer1.0-rtsp
for program in debootstrap systemd-nspawn nsenter setpriv; do
    command -v $program >/dev/null || skip "there is no $program, and it cannot be installed"
done
/usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null ||
    skip "there is no GStreamer RTSP server for a camera, and it cannot be installed"
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces are not allowed here"
# shellcheck disable=SC1091
[ ! -e .venv/bin/activate ] || . .venv/bin/activate
python -c 'import jetson_face, pytest, skimage' 2>/dev/null || setup_env pc,demo,dev

mkdir -p "$cache/wheels"
exec 9>"$cache/lock"
flock --nonblock 9 || skip "another run uses $cache"

base=$cache/base-$(echo "$suite $packages" | sha256sum | cut -c1-12)
if [ ! -d "$base" ]; then
    rm -rf "$cache"/base-*
    timeout 900 debootstrap --variant=minbase --include="$packages" "$suite" "$base.new" \
        ${MIRROR:+"$MIRROR"} >"$cache/debootstrap.log" 2>&1 ||
        skip "debootstrap: $(grep . "$cache/debootstrap.log" | tail -1)"
    rm -rf "$base.new"/var/cache/apt/archives/*.deb
    mv "$base.new" "$base"
fi
why=$(python -m tests.service.nspawn_box "$base") || skip "a box does not boot here: $why"

if [ -z "${WHEEL:-}" ]; then
    # From what git has, so that nothing else of the working tree gets into it.
    rm -rf "$cache/src" "$cache/dist"
    mkdir -p "$cache/src"
    git archive HEAD | tar x -C "$cache/src"
    python -m pip wheel --quiet --no-deps "$cache/src" -w "$cache/dist"
    WHEEL=$(ls "$cache"/dist/*.whl)
fi
version=$(in_root "$base" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' | tr -d '\r')
wanted=$cache/wheels/$version-web-$(sha256sum <setup.py | cut -c1-16)
if [ ! -e "$wanted" ]; then
    rm -rf "${cache:?}"/wheels/*
    timeout 900 python -m pip download -qq --only-binary=:all: --python-version "$version" \
        -d "$cache/wheels" "$WHEEL[pc,web]" 2>"$cache/download.log" ||
        skip "its packages for Python $version: $(grep . "$cache/download.log" | tail -1)"
    rm -f "$cache"/wheels/jetson_face-*.whl # the one to test comes from elsewhere
    touch "$wanted"
fi

rm -rf "$cache/root"
cp -a --reflink=auto "$base" "$cache/root"
cp "$WHEEL" "$cache/root/opt/"
in_root "$cache/root" python3 -m venv /opt/jetson-face
in_root "$cache/root" /opt/jetson-face/bin/pip install --quiet --no-index \
    --disable-pip-version-check --find-links /opt/wheels "/opt/$(basename "$WHEEL")[pc,web]"

prepared=$((SECONDS - begun))
echo "== service on a booted systemd ($suite, prepared in $prepared s)"
rm -f "$cache/measured" "$cache/journal"
code=0
JETSON_FACE_BOX="$cache" python -m pytest -p no:cacheprovider -m slow \
    tests/service/test_boot.py tests/service/test_boot_web.py tests/service/test_boot_jetson.py "${@:2}" || code=$?
cat "$cache/measured" 2>/dev/null || true
[ $code = 0 ] || tail -n 60 "$cache/journal" 2>/dev/null || true
echo "test_service: RAN in $((SECONDS - begun)) s, exit code $code; log: $cache/journal"
exit $code
