# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: where things are, and the few functions that they share.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${COCOON_LAB_CACHE:-/var/cache/cocoon-lab}
venv=$cache/venv
# The newest ansible-core that Debian 12's Python runs; tests/requirements.txt has it too.
newest_core=2.19
# Logs that are kept: the last output of every gate.
logs=$cache/logs
export COCOON_LAB_CACHE=$cache ANSIBLE_NOCOLOR=1 PY_COLORS=${PY_COLORS:-0} NO_COLOR=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# sync_tree NAME: a copy of the files that git knows or would add, where ansible-test and pytest-ansible want a collection
# (a symlink does not do), in its own place for every caller. Sets $tree and the collections path. What is there already
# is updated in place, because a running lab may have mounted parts of it.
sync_tree() {
    local root=$cache/trees/$1
    tree=$root/collections/ansible_collections/cocoonstack/cocoon
    export ANSIBLE_COLLECTIONS_PATH=$root/collections
    mkdir -p "$tree"
    (cd "$repo" && git ls-files -z --cached --others --exclude-standard \
        | while IFS= read -r -d '' f; do if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\0' "$f"; fi; done) \
        | sort -z >"$root/files"
    rm -rf "$tree/tests/output"
    (cd "$tree" && find . -name __pycache__ -prune -o ! -type d -printf '%P\0' | sort -z \
        | comm -z -13 "$root/files" - | xargs -0r rm -f)
    find "$tree" -type d -empty -delete
    mkdir -p "$tree"
    tar --create --directory "$repo" --no-recursion --null --files-from="$root/files" | tar --extract --directory "$tree"
}

# find_python X.Y: the real interpreter (a shim is none), able to make a virtual environment; nothing where there is none.
find_python() {
    local p
    for p in "/usr/bin/python$1" "/usr/local/bin/python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1" \
             /opt/python*/bin/"python$1" "$HOME"/.local/share/uv/python/cpython-"$1".*/bin/"python$1"; do
        if [ -x "$p" ] && "$p" -c 'import ensurepip, ssl, sqlite3, venv' 2>/dev/null; then
            printf '%s\n' "$p"
            return
        fi
    done
}

# python_between MIN MAX: an interpreter in that range, 3.11 (Debian 12's) before others.
python_between() {
    local minor p
    for minor in 11 $(seq "${1#3.}" "${2#3.}"); do
        if ((minor >= ${1#3.} && minor <= ${2#3.})); then
            p=$(find_python "3.$minor")
            if [ -n "$p" ]; then printf '%s\n' "$p"; return; fi
        fi
    done
}

# make_venv DIR PYTHON PIP-ARGUMENTS...: a virtual environment, made again when what it is made from has changed.
make_venv() {
    local dir=$1 python=$2 stamp lock
    shift 2
    stamp="$python $(cat "$repo"/tests/{,unit/}requirements.txt "$repo/tests/constraints.txt" | sha256sum)"
    mkdir -p "$(dirname "$dir")"
    exec {lock}>"$dir.lock"
    flock "$lock"
    if [ ! -x "$dir/bin/python" ] || [ "$(cat "$dir/.made-from" 2>/dev/null)" != "$stamp" ]; then
        say "making $dir with $python"
        rm -rf "$dir"
        "$python" -m venv "$dir"
        "$dir/bin/pip" install --quiet "$@"
        printf '%s' "$stamp" >"$dir/.made-from"
    fi
    exec {lock}>&-
}

# use_core VERSION: one ansible-core of tests/cores.txt with what the unit tests use, and without pytest-ansible. Sets
# $core; 77 is returned where no Python that it wants is found.
use_core() {
    local version oldest newest python
    read -r version oldest newest < <(grep -E "^${1//./\\.}[. ]" "$repo/tests/cores.txt") || die "no $1 in tests/cores.txt"
    python=$(python_between "$oldest" "$newest")
    if [ -z "$python" ]; then
        say "ansible-core $version needs a Python from $oldest to $newest, and none is found"
        return 77
    fi
    core=$cache/cores/$1
    make_venv "$core" "$python" "ansible-core==$version" -r "$repo/tests/unit/requirements.txt" -c "$repo/tests/constraints.txt"
    say "ansible-core $version on $("$python" --version)"
}

# use_tree: the copy that script/test made, or a fresh one of its own where a gate is called by hand.
use_tree() {
    if [ -n "${COCOON_TREE:-}" ]; then
        tree=$COCOON_TREE
    else
        sync_tree "$(basename "$0")"
    fi
    cd "$tree"
    export PATH=$venv/bin:$PATH
}

# ansible-test's surroundings: a home of its own in the cache, real interpreters in the PATH, and a stand-in for the
# get-pip script that it would download: Python's own ensurepip does that work.
use_ansible_test() {
    local v python
    use_tree
    use_core "$newest_core"
    mkdir -p "$cache/home/.ansible/test/cache" "$cache/pythons"
    for v in 3.9 3.10 3.11 3.12 3.13 3.14 3.15; do
        python=$(find_python "$v")
        if [ -n "$python" ]; then ln -sfn "$python" "$cache/pythons/python$v"; else rm -f "$cache/pythons/python$v"; fi
    done
    for v in 23_1_2 24_2 25_2; do
        cp tests/get_pip.py "$cache/home/.ansible/test/cache/get_pip_$v.py"
    done
    export HOME=$cache/home PATH=$core/bin:$cache/pythons:/usr/local/bin:/usr/bin:/bin
}

# use_test_lab ARGUMENTS...: a lab that nobody uses, beside that of script/lab; it goes when the script ends, unless
# --keep-lab is among the arguments. $lab_lock is held until then, and is not for children: they run with {lab_lock}>&-.
use_test_lab() {
    local keep='' n
    case " $* " in *' --keep-lab '*) keep=yes ;; esac
    for n in ${COCOON_LAB_NUMBER:-1 2 3 4 5 6 7 8 9}; do
        exec {lab_lock}>"$cache/lab-$n.lock"
        if flock --nonblock "$lab_lock" && { [ -n "$keep${COCOON_LAB_NUMBER:-}" ] || [ ! -e "/var/lib/cocoon-lab-$n" ]; }; then break; fi
        say "lab $n is up already; if nobody wants it, COCOON_LAB_NUMBER=$n script/lab down removes it"
        exec {lab_lock}>&-
        n=''
    done
    [ -n "$n" ] || die "no lab is free"
    export COCOON_LAB_NUMBER=$n
    if [ -n "$keep" ]; then
        say "this lab stays up: COCOON_LAB_NUMBER=$n script/lab down removes it"
    elif [ "$(id -u)" = 0 ]; then
        trap 'python -m tests.lab down --all' EXIT
    fi
}
