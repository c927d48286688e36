# Sourced by tools/check and tools/demo: an interpreter that can make a virtual environment, and one made with it.

unset PYTHONPATH # what a caller put there would shadow the pinned packages
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# Prints the path of the first Python >= 3.11 that can make a virtual environment; $PYTHON, when set, is the only one tried.
# 3.11 comes first: it is the one the pins in constraints.txt were resolved with.
find_python() {
    local candidate
    while IFS= read -r candidate; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done < <(if [[ -n "${PYTHON:-}" ]]; then echo "$PYTHON"; else
        type -aP python3.11 python3.12 python3.13 python3 python || true
    fi)
    echo "${PYTHON:-no python3 on PATH} cannot be used: Python 3.11 or newer with venv and ensurepip is needed;" \
        "install it (Debian: apt-get install python3-venv) or set PYTHON=/path/to/python3.11" >&2
    return 1
}

# make_venv FOLDER: an empty virtual environment there, holding only the pinned build backend.
make_venv() {
    local python
    python=$(find_python) || return 1
    if [[ -e "$1" && ! -e "$1/pyvenv.cfg" ]]; then
        echo "$1 exists and is no virtual environment; remove it or name another folder" >&2
        return 1
    fi
    "$python" -m venv --clear "$1" &&
        "$1/bin/python" -m pip install --quiet --constraint tools/constraints.txt setuptools
}
