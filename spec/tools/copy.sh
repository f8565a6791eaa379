#!/bin/sh
# SPDX-License-Identifier: MIT
# copy.sh FROM TO FILE...: installs files that lie below FROM at the same places below TO.
set -eu

from=$1 to=$2
shift 2
for file; do
  ${INSTALL:-install} -D -m 644 "$from/$file" "$to/$file"
done
if [ $# -gt 0 ]; then echo "$# files into $to"; fi
