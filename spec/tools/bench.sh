#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh BUILD [FILE...]: runs benches, by default all, one after the other with nothing beside
# them. Each is a program of its own that prints its ratios; LETHE_WORK below 1 makes them short. In
# the end all figures stand in one table, here and in BUILD/bench.txt and BUILD/bench.json.
set -eu

build=$1
shift
[ $# -gt 0 ] || set -- spec/bench/*.c spec/bench/*.lua
ran=0
failed=0
LETHE_FIGURES=$build/figures
export LETHE_FIGURES LETHE_BENCH
rm -f "$LETHE_FIGURES"
for file; do
  [ -e "$file" ] || continue
  printf '\n== %s\n' "$file"
  ran=$((ran + 1))
  LETHE_BENCH=$(basename "$file")
  case $file in
  *.lua) set -- "$build/lethe" "$file" ;;
  *) set -- "$build/bench/$(basename "$file" .c)" ;;
  esac
  "$@" || {
    echo "$file ended with status $?"
    failed=$((failed + 1))
  }
done
if [ -e "$LETHE_FIGURES" ]; then
  printf '\n== all figures: median, from the least to the most of the rounds, target\n\n'
  "$build/lethe" spec/tools/figures.lua "$LETHE_FIGURES" "$build/bench"
fi
printf '\n%d benches ran, %d failed\n' "$ran" "$failed"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
