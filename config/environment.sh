# Makes the Python environment of this checkout. Sourced by config/install, config/quickstart
# and tests/check.
#
# make_environment KIND brings .venv up to the lock file of KIND and the project into it:
#   runtime   requirements.lock      what the gateway needs
#   dev       requirements-dev.lock  and what its checks and tests need
# Nothing is done when neither lock file nor project has changed since the last time.
# Every package is compared with the hash in the lock file, whatever index it comes from.
#
# After a change of dependencies in pyproject.toml make both again (uv 0.11 or newer):
#   options="--python-platform x86_64-unknown-linux-gnu --python-version 3.11 --generate-hashes
#     --no-emit-index-url --no-header --no-annotate --group build pyproject.toml"
#   uv pip compile $options --group dev -o requirements-dev.lock
#   uv pip compile $options -c requirements-dev.lock -o requirements.lock
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
unset PYTHONHOME PYTHONPATH
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# Whether the program $1 is a Python that the project runs on.
is_usable_python() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# Prints a usable Python; PYTHON=... is tried first.
find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && is_usable_python "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    return 1
}

# apt_install PACKAGE...: without questions; fails where this is not root on Debian.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing Debian packages: $*"
    local options=(-q -y -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120)
    export DEBIAN_FRONTEND=noninteractive
    # A source that does not answer must not keep the others from being used.
    apt-get "${options[@]}" update </dev/null >/dev/null 2>&1 || true
    apt-get "${options[@]}" --no-install-recommends install "$@" </dev/null >/dev/null
}

make_venv() {
    local python version
    python=$(find_python) ||
        fail "Python 3.11, 3.12 or 3.13 is needed (found: $(python3 -V 2>&1 | tail -n 1)); name one with PYTHON=/path/to/python"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian ships these two modules in a package of their own.
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv" ||
            fail "$python cannot make virtual environments: install the package python$version-venv"
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python could not make $venv"
}

make_environment() {
    local kind=$1 lock=$root/requirements.lock wanted stamp
    [ "$kind" = dev ] && lock=$root/requirements-dev.lock
    # An environment that was moved or whose Python has gone is made anew.
    if ! is_usable_python "$venv/bin/python" || ! grep -qsF "$venv" "$venv/bin/activate"; then
        make_venv
    fi
    stamp=$venv/.installed-$kind
    wanted=$(cd "$root" && sha256sum "$(basename "$lock")" pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "installing what $(basename "$lock") names into .venv; the first time takes about a minute"
    "$venv/bin/python" -m pip install -qq --require-hashes -r "$lock" </dev/null ||
        fail "the packages of $(basename "$lock") could not be installed"
    "$venv/bin/python" -m pip install -qq --no-deps --no-build-isolation -e "$root" </dev/null ||
        fail "the project could not be installed into .venv"
    printf '%s\n' "$wanted" >"$stamp"
}
