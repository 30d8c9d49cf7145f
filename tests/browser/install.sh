#!/bin/sh
# What `make test-browser` needs beside Python packages: Chromium, and axe-core from npm into node/node_modules.
# Where chromium or npm is missing, apt-get installs it, as root or by sudo. A second run does nothing.
set -eu
cd "$(dirname "$0")"

have() { command -v "$1" >/dev/null 2>&1; }
stop() { echo "make test-browser: $*" >&2; exit 1; }

missing=""
browser="${PGSCHED_TEST_CHROMIUM:-}"
if [ -n "$browser" ]; then
  have "$browser" || stop "PGSCHED_TEST_CHROMIUM must name a program, got $browser"
elif ! have chromium && ! have chromium-browser && ! have google-chrome; then
  missing="chromium"
fi
have npm || missing="$missing npm"

if [ -n "$missing" ]; then
  have apt-get || stop "install$(printf ' %s' $missing) first: apt-get, which would do it, is not here"
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif have sudo && sudo -n true 2>/dev/null; then
    as_root="sudo env"
  else
    stop "install$(printf ' %s' $missing) first: apt-get would need root, or sudo without a password"
  fi
  echo "Installing$(printf ' %s' $missing) with apt-get"
  $as_root apt-get update -qq || stop "apt-get update failed"
  $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null \
    || stop "apt-get could not install$(printf ' %s' $missing)"
fi

# npm writes node_modules/.package-lock.json last.
if [ ! node/node_modules/.package-lock.json -nt node/package-lock.json ]; then
  echo "Installing axe-core into tests/browser/node"
  npm ci --prefix node --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || stop "npm ci failed"
  touch node/node_modules/.package-lock.json
fi
