#!/bin/sh
# See that the programs that the tests run are installed: as root on Debian install what is missing, else say what to type.
set -u

missing=
for pair in valgrind:valgrind cmake:cmake patchelf:patchelf pkg-config:pkg-config g++:g++ cc:gcc node:nodejs npm:npm Xvfb:xvfb; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
for pair in glib-2.0:libglib2.0-dev libuv:libuv1-dev gtk4:libgtk-4-dev; do # what examples are built with
    pkg-config --exists "${pair%%:*}" 2>/dev/null || missing="$missing ${pair#*:}"
done
[ -e /usr/share/i18n/locales/de_DE ] || missing="$missing locales" # what localedef makes one of
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing." >&2
    # shellcheck disable=SC2086 # one word per package
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } >&2 && exit 0
fi
echo "The tests need$missing: install them (Debian: sudo apt-get install$missing), then try again." >&2
exit 1
