#!/usr/bin/env bash
# Boots a real systemd (systemd-nspawn, debootstrap) with the service installed from the wheel, and
# runs tests/service/test_boot.py against it. Needs root; exits 0 with the reason where the machine
# cannot do it.
# Usage: tools/test_service.sh [DIR]   DIR keeps the box for the next run (default: .box, 1.3 GB).
set -euo pipefail
cd "$(dirname "$0")/.."
box=$(realpath -m "${1:-.box}")
suite=${SUITE:-bookworm}

skip() { echo "test_service: skipped: $1" >&2; exit 0; }
[ "$(id -u)" = 0 ] || skip "needs root"
if ! command -v debootstrap >/dev/null || ! command -v systemd-nspawn >/dev/null; then
    command -v apt-get >/dev/null || skip "no apt-get here to install debootstrap and systemd-nspawn"
    apt-get update -qq >/dev/null 2>&1 || true
    apt-get install -y -qq --no-install-recommends debootstrap systemd-container >/dev/null 2>&1 ||
        skip "debootstrap and systemd-container cannot be installed"
fi
if ! /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null; then
    apt-get install -y -qq --no-install-recommends python3-gi gir1.2-gst-rtsp-server-1.0 \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly \
        gstreamer1.0-rtsp >/dev/null 2>&1 || skip "no GStreamer RTSP server can be installed"
fi

mkdir -p "$box"
if [ ! -e "$box/debootstrapped" ]; then
    rm -rf "$box/root"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,libglib2.0-0 \
        "$suite" "$box/root" >"$box/debootstrap.log" 2>&1 || skip "debootstrap failed: $box/debootstrap.log"
    touch "$box/debootstrapped"
fi

# The wheel is made from what git has, so that nothing else of the working tree gets into it.
python=${PYTHON:-python3}
rm -rf "$box/src" "$box/dist"
mkdir -p "$box/src" "$box/wheels"
git archive HEAD | tar x -C "$box/src"
"$python" -m pip wheel --quiet --no-deps "$box/src" -w "$box/dist"
wheel=$(ls "$box"/dist/*.whl)
wanted=$(sha256sum <"$box/src/setup.py" | cut -c1-16)
if [ ! -e "$box/wheels/$wanted" ]; then
    version=$(chroot "$box/root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -m pip download --quiet --only-binary=:all: --python-version "$version" \
        -d "$box/wheels" "$wheel[pc]"
    touch "$box/wheels/$wanted"
fi
mkdir -p "$box/root/opt/wheels"
[ -x "$box/root/opt/jetson-face/bin/python" ] || chroot "$box/root" python3 -m venv /opt/jetson-face
mount --bind "$box/wheels" "$box/root/opt/wheels"
trap 'umount "$box/root/opt/wheels" 2>/dev/null || true' EXIT
cp "$wheel" "$box/root/opt/"
chroot "$box/root" /opt/jetson-face/bin/pip install --quiet --no-index --find-links /opt/wheels \
    "/opt/$(basename "$wheel")[pc]"
chroot "$box/root" /opt/jetson-face/bin/pip install --quiet --no-index --no-deps --force-reinstall \
    "/opt/$(basename "$wheel")"
umount "$box/root/opt/wheels"

JETSON_FACE_BOX="$box/root" "$python" -m pytest -m slow -rA tests/service/test_boot.py "${@:2}"
