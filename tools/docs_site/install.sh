#!/bin/sh
# What `make docs-site` needs beside Python packages: mermaid from npm, into node/node_modules. A second run does nothing.
set -eu
cd "$(dirname "$0")"

stop() { echo "make docs-site: $*" >&2; exit 1; }

if [ ! node/node_modules/.package-lock.json -nt node/package-lock.json ]; then
  command -v npm >/dev/null 2>&1 || stop "install npm first (\`make test-browser\` does, where apt-get is there)"
  echo "Installing mermaid into tools/docs_site/node"
  npm ci --prefix node --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || stop "npm ci failed"
  touch node/node_modules/.package-lock.json
fi
