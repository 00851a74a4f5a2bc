#!/usr/bin/env bash
# Sourced by demo.sh and test.sh: makes .venv, once, and installs what the caller asks for.
# Usage: . tools/setup_env.sh; setup_env EXTRAS   (as in "pc,dev")
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    local candidate
    # The system's first: its python3-gi (GStreamer) can then be used from the environment.
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3 python3.13 python3.12 python3.11 \
        python3.10; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
            >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

apt_install() { # packages that a bare Debian or Ubuntu lacks; only as root or with sudo
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    command -v apt-get >/dev/null 2>&1 || return 1
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

need_debs() { # installs what of these is missing; says so where it cannot
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q "ok installed" ||
            missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] && return 0
    echo "setting up: apt-get install ${missing[*]}"
    apt_install "${missing[@]}" ||
        echo "setting up: could not install ${missing[*]}; what needs them is skipped" >&2
}

link_gi() { # PyGObject belongs to the system: let the environment see it, and nothing else of it
    python -c 'import gi' 2>/dev/null && return 0
    local found
    found=$(/usr/bin/python3 -c 'import gi, sys; print(sys.version_info[:2], gi.__path__[0])' \
        2>/dev/null) || return 0
    if [[ "$found" == "$(python -c 'import sys; print(sys.version_info[:2])')"* ]]; then
        ln -sfn "/${found#*/}" "$(python -c 'import site; print(site.getsitepackages()[0])')/gi"
    fi
}

setup_env() {
    local extras=$1 python stamp wanted
    if ! python=$(find_python); then
        echo "setting up: no Python 3.10 or later with venv; installing Debian's" >&2
        apt_install python3 python3-venv || true
        python=$(find_python) || {
            echo "setup: need Python 3.10 or later with venv: apt-get install python3-venv" >&2
            return 12
        }
    fi
    stamp=.venv/installed-$(echo "$extras" | tr , -)
    wanted=$(cat setup.py pyproject.toml jetson_face/__init__.py | sha256sum)
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    # shellcheck disable=SC1091
    . .venv/bin/activate
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "setting up: installing jetson-face[$extras] into .venv (first time: some minutes)"
        python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=23" wheel
        if [[ ,$extras, == *,train,* ]]; then
            # On a PC without a GPU the CPU build will do, where one can be had.
            python -m pip install --quiet --disable-pip-version-check "${TORCH:-torch}"
        fi
        # setuptools has a box of advice for those who build packages; this is for those who use one.
        PYTHONWARNINGS=ignore python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
        echo "$wanted" >"$stamp"
    fi
}
