#!/usr/bin/env bash
# Lints the .proto files and compares them with proto/baseline.binpb: the API as it
# was released last. A change that breaks generated code or the wire fails.
#
#     tests/proto.sh              check
#     tests/proto.sh --accept     make the present files the baseline: with a release only
set -euo pipefail

cd "$(dirname "$0")/.."
tools=$(tests/setup.sh)
buf=$tools/node/node_modules/.bin/buf
export BUF_CACHE_DIR=$tools/buf-cache

cd proto
if [ "${1:-}" = --accept ]; then
    "$buf" build --output baseline.binpb
    exit
fi
"$buf" lint
"$buf" breaking --against baseline.binpb
