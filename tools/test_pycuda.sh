#!/usr/bin/env bash
# Compiles the real pycuda against CUDA's headers and a stand-in libcuda (tests/inference/libcuda),
# and runs the suite of both ways to CUDA over them: tests/inference/test_real_cuda.py. No GPU.
# Takes some two minutes the first time. Says in one line when it was not run and why, and exits 0
# then; a test that fails exits 1.
# Usage: tools/test_pycuda.sh [DIR [PYTEST ARGUMENTS]]
#   DIR   keeps what was compiled for the next run (default: .pycuda)
#   CUDA_INCLUDE in the environment: where cuda.h is (default: /usr/local/cuda/include, or NVIDIA's
#         package of headers by pip)
set -euo pipefail
. "$(dirname "$0")/setup_env.sh"
cache=$(realpath -m "${1:-.pycuda}")
skip() { echo "test_pycuda: NOT RUN: $1"; exit 0; }

# shellcheck disable=SC1091
[ ! -e .venv/bin/activate ] || . .venv/bin/activate
python -c 'import jetson_face, pytest' 2>/dev/null || setup_env pc,dev
need_debs g++ python3-dev
command -v g++ >/dev/null || skip "there is no g++, and it cannot be installed"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock --nonblock 9 || skip "another run uses $cache"

include=${CUDA_INCLUDE:-/usr/local/cuda/include}
if [ ! -e "$include/cuda.h" ]; then
    include=$cache/headers/nvidia/cuda_runtime/include
    [ -e "$include/cuda.h" ] || python -m pip install -qq --disable-pip-version-check --no-deps \
        --target "$cache/headers" nvidia-cuda-runtime-cu12 nvidia-cuda-profiler-api-cu12 2>"$cache/log" ||
        skip "CUDA's headers: $(tail -1 "$cache/log")"
fi

# What pycuda links beyond the stand-in's functions answers "not supported".
python - "$include" tests/inference/libcuda/standin.c "$cache/rest.c" <<'PYTHON'
import re
import sys
from pathlib import Path

include, done, rest = map(Path, sys.argv[1:])
header = "".join(
    (include / name).read_text() for name in ("cuda.h", "cudaProfiler.h") if (include / name).exists()
)
names = set(re.findall(r"\bCUDAAPI\s+(cu[A-Z]\w*)\s*\(", header))
names |= set(re.findall(r"#define\s+cu[A-Z]\w*\s+(?:__CUDA_API_PT(?:DS|SZ)\()?(cu[A-Z]\w*)", header))
names -= set(re.findall(r"^int (cu\w+)\(", done.read_text(), re.M))
rest.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(names)))
PYTHON
mkdir -p "$cache/lib"
gcc -Wall -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$cache/lib/libcuda.so.1" \
    tests/inference/libcuda/standin.c "$cache/rest.c" -lpthread
ln -sf libcuda.so.1 "$cache/lib/libcuda.so"
: | gcc -shared -fPIC -x c - -o "$cache/lib/libcudart.so" # linked, and nothing of it is used

stamp=$cache/built-$(python -c 'import sys, numpy; print(sys.version_info[:2], numpy.__version__)' | tr -dc '0-9.')
if [ ! -e "$stamp" ]; then
    rm -rf "$cache"/built-* "$cache/src" "$cache/site"
    mkdir -p "$cache/src"
    # Its sdist wants numpy to build with: the environment's is the one it must fit.
    python -m pip download -qq --disable-pip-version-check --no-deps --no-binary pycuda \
        -d "$cache/src" 'pycuda>=2024.1' 2>"$cache/log" || skip "pycuda's source: $(tail -1 "$cache/log")"
    tar xzf "$cache"/src/pycuda-*.tar.gz -C "$cache/src" --strip-components=1
    cat >"$cache/src/siteconf.py" <<CONF
BOOST_INC_DIR = []
BOOST_LIB_DIR = []
BOOST_COMPILER = "gcc43"
USE_SHIPPED_BOOST = True
BOOST_PYTHON_LIBNAME = []
BOOST_THREAD_LIBNAME = []
CUDA_TRACE = False
CUDA_ROOT = "$(dirname "$include")"
CUDA_ENABLE_GL = False
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = ["$cache/lib"]
CUDADRV_LIBNAME = ["cuda"]
CUDART_LIB_DIR = ["$cache/lib"]
CUDART_LIBNAME = ["cudart"]
CURAND_LIB_DIR = []
CURAND_LIBNAME = []
CXXFLAGS = ["-O0", "-w"]
LDFLAGS = []
CONF
    echo "test_pycuda: compiling pycuda"
    CPATH=$include nice -n 10 timeout 900 python -m pip install -qq --disable-pip-version-check \
        --target "$cache/site" --no-deps "$cache/src" pytools siphash24 typing_extensions platformdirs \
        mako markupsafe >"$cache/compile.log" 2>&1 || {
        tail -20 "$cache/compile.log"
        skip "pycuda cannot be compiled here: see $cache/compile.log"
    }
    touch "$stamp"
fi

code=0
LD_LIBRARY_PATH=$cache/lib JETSON_FACE_PYCUDA=$cache/site python -m pytest -p no:cacheprovider -m slow \
    tests/inference/test_real_cuda.py "${@:2}" || code=$?
echo "test_pycuda: RAN, exit code $code"
exit $code
