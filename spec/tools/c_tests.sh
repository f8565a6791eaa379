#!/bin/sh
# SPDX-License-Identifier: MIT
# c_tests.sh SECONDS FOLDER TEST...: runs cmocka programs one after the other with TAP output. UNDER
# may hold a command to run them under.
set -u

seconds=$1 folder=$2
shift 2
status=0
for test; do
  log=$(mktemp)
  echo "# $test"
  # shellcheck disable=SC2086 # UNDER is a list of words
  CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "$seconds" ${UNDER:-} "$folder/$test" \
    >"$log" 2>&1
  code=$?
  cat "$log"
  if [ "$code" -ne 0 ]; then
    status=1
    grep -q '^not ok' "$log" || echo "not ok - $test ended with status $code"
  fi
  rm -f "$log"
done
exit "$status"
