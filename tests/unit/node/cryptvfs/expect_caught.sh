#!/bin/sh
# A test program built over a deliberate fault must fail, and by a test that says so.
#   expect_caught.sh PROGRAM
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
if timeout 120 "$1" >"$out" 2>&1; then
    echo "the mutant survived:"
    cat "$out"
    exit 1
fi
if ! grep -E '^\[ *(FAILED|ERROR) *\] [a-z]' "$out"; then
    echo "it failed, but no test found the fault:"
    cat "$out"
    exit 1
fi
