#!/usr/bin/env bash
# All default checks on a fresh machine: style, types, layers, then the tests against the installed
# wheel. Arguments go to pytest, as in: bash tools/test.sh -m slow
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"
# A real RTSP server, a real broker, a real NATS server and systemd's own checker, as the tests want
# them.
need_debs python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav \
    gir1.2-gst-rtsp-server-1.0 mosquitto nats-server systemd
# PyTorch is for the training tests; the pinned release is the one they were written with.
TORCH=${TORCH:-torch==2.13.0}
setup_env pc,train,rtx,mqtt,fleet,dev,demo
link_gi

echo "== style"
ruff check .
ruff format --check .
echo "== types"
mypy
echo "== lowest Python"
# Of JetPack 6. `errors` of an object of ours is taken for that of Python 2's files.
vermin --quiet --no-tips --target=3.10- --eval-annotations --exclude file.errors jetson_face setup.py
echo "== layers"
lint-imports --no-cache
echo "== wheel"
rm -rf build/wheel && mkdir -p build/wheel
python -m build --wheel --outdir build/wheel . >build/wheel/log 2>&1 || { cat build/wheel/log; exit 1; }
python tools/check_aarch64.py build/wheel/*.whl --extra pc --extra jetson
# The tests run beside the wheel, where the source folder is not: a file that packaging forgot, or
# an import that only works in a checkout, is a failure here.
rm -rf build/site build/run && mkdir -p build/run
python -m pip install --quiet --disable-pip-version-check --no-deps --target build/site \
    build/wheel/*.whl
for name in tests tools configs engines docs systemd pyproject.toml .importlinter README.md; do
    ln -s "../../$name" "build/run/$name"
done
echo "== tests"
export JETSON_FACE_TEST_CACHE="${JETSON_FACE_TEST_CACHE:-$PWD/build/test-cache}"
export JETSON_FACE_INSTALLED="$PWD/build/site"
cd build/run
# The default tests wait and start programs a lot: two processes take little more than half the time.
# What is asked for by hand may measure, so it has the machine for itself.
[ $# -gt 0 ] || set -- -n 2 --dist loadfile
PYTHONPATH="$JETSON_FACE_INSTALLED" pytest -p no:cacheprovider --import-mode=importlib \
    --junitxml=tests.xml "$@"
# Code under test that ends the process would end the tests with its own exit code.
[ -s tests.xml ] || { echo "the tests ended before their end" >&2; exit 1; }
