# Sourced: private PostgreSQL servers from Debian's package, not as root.
. ci/need.sh

programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }

# start_postgres FOLDER ADDRESS PORT [COMMAND...]: makes a server in FOLDER, which is empty, and starts it; COMMAND runs what
# follows it, in another network namespace perhaps. Then FOLDER/control does to the server what its first argument says.
start_postgres() {
    local folder=$1 address=$2 port=$3 bin run
    shift 3
    [ -n "$(programs)" ] || need pg_ctlcluster postgresql
    bin=$(programs)
    run="$*"
    chmod 755 "$folder"
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$folder"
        run="$run runuser -u postgres --"
    fi
    cat >"$folder/control" <<END
#!/bin/sh
# Does to the server what the word says.
run() { $run "\$@"; }
# A connection may end in between.
signal() { kill "\$1" \$(ps -o pid= --ppid "\$(head -1 $folder/data/postmaster.pid)" -p "\$(head -1 $folder/data/postmaster.pid)") 2>/dev/null || true; }
start() {
    # After a crash, what its processes leave behind is in the way for a moment.
    for attempt in 1 2 3 4 5; do
        run $bin/pg_ctl -D $folder/data -w -s -l $folder/log start \\
            -o "-p $port -k $folder -c listen_addresses=$address -c max_connections=300 \$1" >/dev/null 2>&1 && return
        sleep 1
    done
    tail $folder/log >&2
    return 1
}
case \$1 in
pid) head -1 $folder/data/postmaster.pid ;;
# A new one in place of one that is there.
database)
    run $bin/dropdb --if-exists --force -h $folder -p $port -U dropreel "\$2" 2>/dev/null
    run $bin/createdb -h $folder -p $port -U dropreel "\$2"
    ;;
halt) signal -STOP ;;
resume) signal -CONT ;;
crash) signal -KILL ;;
stop) run $bin/pg_ctl -D $folder/data -m immediate -w -s stop ;;
start) start "\$2" ;;
# What a replica has that lags behind, and that it takes over.
copy) run $bin/pg_basebackup -h $folder -p $port -U dropreel -D $folder/copy -X stream --checkpoint=fast --no-sync ;;
fail-over)
    signal -KILL
    rm -rf $folder/data && mv $folder/copy $folder/data && start
    ;;
# A disk without space, and one with. The server may have ended meanwhile.
fill) cat /dev/zero >$folder/filler 2>/dev/null || true ;;
free)
    rm -f $folder/filler
    run $bin/pg_ctl -D $folder/data -s status >/dev/null || start
    ;;
esac
END
    chmod 755 "$folder/control"
    $run "$bin/initdb" -D "$folder/data" -U dropreel -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    certify "$folder"
    "$folder/control" start
}

# certify FOLDER: a certificate of localhost by the authority FOLDER/authority.pem, for a server that is started with ssl=on.
certify() {
    local folder=$1 keys
    need openssl openssl
    keys=$(mktemp -d)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=tests' \
        -keyout "$keys/authority.key" -out "$keys/authority.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
        -keyout "$keys/server.key" -out "$keys/request" 2>/dev/null
    printf 'subjectAltName = DNS:localhost\n' >"$keys/names"
    openssl x509 -req -in "$keys/request" -CA "$keys/authority.pem" -CAkey "$keys/authority.key" -CAcreateserial -days 2 \
        -extfile "$keys/names" -out "$keys/server.crt" 2>/dev/null
    cp "$keys/authority.pem" "$folder/"
    chmod 644 "$folder/authority.pem"
    install -m 644 "$keys/server.crt" "$folder/data/"
    install -m 600 "$keys/server.key" "$folder/data/"
    chown --reference="$folder/data/PG_VERSION" "$folder/data/server.crt" "$folder/data/server.key"
    rm -r "$keys"
}

# private_postgres [PARENT]: starts a server for the tests on this machine, in a folder in PARENT, and stops it at the end. Sets
# `address`, and `control`, which does to it what its first argument says.
private_postgres() {
    folder=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}")
    control=$folder/control
    local port=$((20000 + $$ % 10000))
    address=postgres://dropreel@127.0.0.1:$port
    trap '"$control" resume 2>/dev/null || true; "$control" stop 2>/dev/null || true; rm -rf "$folder"' EXIT
    start_postgres "$folder" 127.0.0.1 "$port"
}
