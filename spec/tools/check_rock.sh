#!/bin/sh
# SPDX-License-Identifier: MIT
# Lints the rockspecs, and in a scratch copy of the checkout does what a user of LuaRocks does:
# makes the rock into a tree of its own, runs a stock Lua, the executable and some specs from that
# tree, removes it.
set -eu

lua=${LUA:-lua5.4}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
  echo "check-rock: $*" >&2
  cat "$root/log" >&2
  exit 1
}

rocks() {
  # shellcheck disable=SC2086 # the command and its options
  env -u MFLAGS -u MAKELEVEL -u CFLAGS -u LDFLAGS -u SAN MAKEFLAGS="-j${JOBS:-1}" \
    ${LUAROCKS:-luarocks --lua-version 5.4} "$@" >"$root/log" 2>&1
}

for rockspec in rockspec/*.rockspec; do
  rocks lint "$rockspec" || fail "luarocks lint $rockspec"
  # Releases differ from the checkout's in where they come from, and in nothing else.
  sed '/^version = /d; /^-- .luarocks make/,/^}/d; /^source = {/,/^}/d' "$rockspec" >"$root/this"
  [ -f "$root/first" ] || cp "$root/this" "$root/first"
  cmp "$root/first" "$root/this" >"$root/log" 2>&1 || fail "$rockspec is not like the others"
done
mkdir "$root/copy"
cp -R Makefile bindings lua runtime rockspec spec "$root/copy"
cd "$root/copy"
rocks make --tree "$root/tree" || fail "luarocks make"

eval "$(${LUAROCKS:-luarocks --lua-version 5.4} path --tree "$root/tree")"
cd /
for program in "$lua" "$root/tree/bin/lethe"; do
  out=$("$program" -e 'print(require("lethe")._VERSION, require("lethe").type(
    require("lethe.loop").default()))' 2>"$root/log") || fail "$program with the rock"
  [ "$out" = "lethe 0.1.0	loop.Loop" ] || fail "$program with the rock said: $out"
done
cd "$root/copy"
for spec in loop quota_claims registry epoch; do
  "$lua" /usr/bin/busted "spec/${spec}_spec.lua" >"$root/log" 2>&1 || fail "$spec with the rock"
done
cd /
rocks remove --tree "$root/tree" lethe || fail "luarocks remove"
left=$(find "$root/tree" -path '*lethe*' -name '*.lua' -o -name 'lethe.so' -o -path '*/bin/lethe')
[ -z "$left" ] || fail "luarocks remove left $left"
echo "the rock lints, installs, runs, and can be removed"
