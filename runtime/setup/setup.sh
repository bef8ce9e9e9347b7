#!/bin/sh
# Brings a fresh Debian machine to the point where tskata is built and installed. Every step looks first whether its
# work is done, so that a second call takes seconds. Runs under any Node from 20 on: it needs only sh, npm and apt.
#
#   setup.sh [--test] [--bench]    also what only the tests, or the benchmark's peers, need
#
# Environment: TSKATA_PREFIX (default /usr/local), TSKATA_CACHE (default ~/.cache/tskata).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
cd "$root"

say() { printf '%s\n' "==> $*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "must run as root: it installs packages and programs, and starts confined virtual machines"
[ "$(uname -m)" = x86_64 ] || die "only x86_64 hosts are supported, this one is $(uname -m)"

lists="$here/packages.txt"
for option in "$@"; do
  case "$option" in
    --test) lists="$lists $here/packages-test.txt" ;;
    --bench) lists="$lists $here/packages-bench.txt" ;;
    *) die "unknown option $option" ;;
  esac
done

missing=
# shellcheck disable=SC2086
for package in $(sed 's/#.*//' $lists); do
  case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
    *' installed') ;;
    *) missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  say "installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q=2 || die "apt-get update failed; is the package mirror reachable?"
  log=$(mktemp)
  # apt tells its progress on descriptor 3, as KIND:PACKAGE:PERCENT:WORDS.
  # shellcheck disable=SC2086
  { apt-get install -y -q=2 --no-install-recommends -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3 $missing 3>&1 >"$log" 2>&1 ||
    echo failed; } | awk -F: '
    $0 == "failed" { failed = 1 }
    /^(dl|pm)status:/ && $3 >= due[$1] { printf "    %s %d %%\n", $1 == "dlstatus" ? "fetched" : "installed", $3; due[$1] = $3 + 20; fflush() }
    END { exit failed }' || {
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get install failed, see above"
  }
  rm -f "$log"
fi

stamp=node_modules/.tskata-lock
if ! cmp -s package-lock.json "$stamp"; then
  say "installing npm packages (a current Node among them)"
  npm ci --loglevel=error --no-audit --no-fund || die "npm ci failed"
  cp package-lock.json "$stamp"
fi

PATH="$root/node_modules/.bin:$PATH"
export PATH
node runtime/setup/build.ts
node runtime/setup/install.ts
case " $* " in *' --test '*) node test/prepare.ts ;; esac
