#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs below a scratch DESTDIR, uses what is there as a user would - the modules from a stock
# Lua, the executable, the C library - and uninstalls, after which nothing may be left.
set -eu

make="env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL ${MAKE:-make} --no-print-directory"
lua=${LUA:-lua5.4}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
checkout=$PWD
dest=$root/dest
prefix=$dest/opt/lethe

fail() {
  echo "check-install: $*" >&2
  exit 1
}

# A shell that did eval "$(make -s env)" in some checkout: what make runs does not see it.
LUA_CPATH=/nowhere $make -s --eval 'reached: ; @! env | grep -q ^LUA_CPATH=' reached ||
  fail "LUA_CPATH reaches what make runs"

mkdir "$dest"
$make install DESTDIR="$dest" PREFIX=/opt/lethe >"$root/log" 2>&1 || {
  cat "$root/log"
  fail "make install failed"
}

for file in bin/lethe lib/lua/5.4/lethe.so lib/liblethe.a lib/pkgconfig/lethe.pc \
  include/lethe/base.h share/lua/5.4/lethe/init.lua share/lethe/types/lethe.lua \
  share/man/man1/lethe.1 share/doc/lethe/lethe.quota.md; do
  [ -f "$prefix/$file" ] || fail "$file was not installed"
done

# A stock Lua that sees the installed files and nothing of the checkout.
cd /
LUA_PATH="$prefix/share/lua/5.4/?.lua;$prefix/share/lua/5.4/?/init.lua"
LUA_CPATH="$prefix/lib/lua/5.4/?.so"
export LUA_PATH LUA_CPATH
cat >"$root/stock.lua" <<'END'
local lethe = require "lethe"
local loop = lethe.loop.default()
local task = loop:spawn(function() loop:sleep(0.001) return "from a task" end)
assert(task:join() == "from a task")
local registry = lethe.registry.new()
registry:register({}, "gone")
registry:collect()
assert(registry:sweep()[1] == "gone")
for _, path in ipairs({ package.searchpath("lethe", package.path),
  package.searchpath("lethe", package.cpath) }) do
  assert(path:find(arg[1], 1, true) == 1, path)
end
print(lethe._VERSION, task:join())
END
[ "$($lua "$root/stock.lua" "$prefix")" = "lethe 0.1.0	from a task" ] ||
  fail "a stock $lua cannot use the installed modules"

# The installed executable stands by itself.
unset LUA_PATH LUA_CPATH
out=$("$prefix/bin/lethe" -e 'print(require("lethe")._VERSION)') || fail "bin/lethe failed"
[ "$out" = "lethe 0.1.0" ] || fail "bin/lethe said: $out"

# Headers and library, without Lua; each header by itself.
for header in "$prefix"/include/lethe/*.h; do
  echo "#include \"lethe/$(basename "$header")\"" >"$root/one.c"
  ${CC:-gcc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" \
    "$root/one.c" || fail "$header does not stand by itself"
done
# The examples for C, with what pkg-config says.
PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --define-prefix --cflags lethe) || fail "pkg-config does not know lethe"
libs=$(pkg-config --define-prefix --libs lethe)
for example in "$checkout"/spec/examples/c/*.c; do
  # shellcheck disable=SC2086 # several words each
  ${CC:-gcc} -Wall -Wextra -Werror $flags -o "$root/use" "$example" $libs ||
    fail "$example does not compile against what was installed"
  "$root/use" >"$root/log" 2>&1 || {
    cat "$root/log"
    fail "$example failed"
  }
done

cd "$checkout"
$make uninstall DESTDIR="$dest" PREFIX=/opt/lethe >"$root/log" 2>&1 || {
  cat "$root/log"
  fail "make uninstall failed"
}
left=$(cd "$dest" 2>/dev/null && find . -mindepth 1) || true
[ -z "$left" ] || fail "uninstall left: $left"
echo "installed, used from a stock Lua, from C and as a program, uninstalled"
