# Sourced by the other scripts: programs that they need, from Debian's packages.

# need PROGRAM PACKAGE: installs PACKAGE if there is no PROGRAM.
need() {
    command -v "$1" >/dev/null && return
    echo "installing $2"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
    command -v "$1" >/dev/null || { echo "cannot install $2, which provides $1" >&2; exit 1; }
}
