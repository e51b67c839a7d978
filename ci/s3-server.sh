# Sourced by the other scripts: moto, an S3 server that is not ours, from PyPI, in an environment of its own below `target`.
MOTO_VERSION=5.2.5
s3_server=target/s3-server-$MOTO_VERSION

install_s3_server() {
    [ ! -x "$s3_server/bin/moto_server" ] || return 0
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need python3-venv python3-venv
    rm -rf "$s3_server"
    python3 -m venv "$s3_server"
    "$s3_server/bin/pip" install --quiet "moto[server]==$MOTO_VERSION" || { rm -rf "$s3_server"; exit 1; }
}
