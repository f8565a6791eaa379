#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes sure that the Debian packages named as arguments are installed. Says nothing when they are.
# Else installs them, as root or through a sudo that asks no password; else says what to run. It
# removes no package that is there.
set -eu

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "Not a Debian system, so packages are not looked after. Debian's names of what is needed:"
  echo "  $*"
  exit 0
fi

# dpkg-query fails for a package that it has never heard of, which is one of those missing.
installed=$(dpkg-query -W -f='${db:Status-Status}:${Package}\n' "$@" 2>/dev/null || true)
missing=
for package; do
  case "
$installed
" in
  *"
installed:$package
"*) ;;
  *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "Packages are missing. Run this as root, then make again:" >&2
  echo "  apt-get install --no-install-recommends$missing" >&2
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# A fresh system has no package lists yet, or old ones: then they are fetched, once.
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120 "$@" \
    </dev/null >>"$log" 2>&1
}
# shellcheck disable=SC2086 # a list of words
install() { apt install --no-install-recommends --no-remove $missing; }

echo "installing$missing"
if ! install && ! { apt update && install; }; then
  cat "$log" >&2
  echo "apt-get could not install$missing" >&2
  exit 1
fi
