#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh BUILD [FILE...]: runs benches, by default all, one after the other with nothing beside
# them. Each is a program of its own that prints its ratios; LETHE_WORK below 1 makes them short.
set -eu

build=$1
shift
[ $# -gt 0 ] || set -- spec/bench/*.c spec/bench/*.lua
ran=0
failed=0
for file; do
  [ -e "$file" ] || continue
  printf '\n== %s\n' "$file"
  ran=$((ran + 1))
  case $file in
  *.lua) set -- "$build/lethe" "$file" ;;
  *) set -- "$build/bench/$(basename "$file" .c)" ;;
  esac
  "$@" || {
    echo "$file ended with status $?"
    failed=$((failed + 1))
  }
done
printf '\n%d benches ran, %d failed\n' "$ran" "$failed"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
