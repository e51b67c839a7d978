# Sourced: starts a private PostgreSQL server from Debian's package in a temporary folder, not as root, and stops it at the end.
#   . ci/postgres-server.sh [PARENT]     its folder is in PARENT
# Sets `address`, and `control`, a program that does to the server what its first argument says.

. ci/need.sh
programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
[ -n "$(programs)" ] || need pg_ctlcluster postgresql
bin=$(programs)

folder=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}")
chmod 755 "$folder"
port=$((20000 + $$ % 10000))
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as() { runuser -u postgres -- "$@"; }
else
    as() { "$@"; }
fi
control=$folder/control
cat >"$control" <<END
#!/bin/sh
run() { $( [ "$(id -u)" = 0 ] && echo 'runuser -u postgres -- ' )"\$@"; }
pid() { head -1 $folder/data/postmaster.pid; }
signal() { kill "\$1" \$(ps -o pid= --ppid "\$(pid)" -p "\$(pid)"); }
case \$1 in
database) run $bin/createdb -h $folder -p $port -U dropreel "\$2" ;;
pid) pid ;;
halt) signal -STOP ;;
resume) signal -CONT ;;
crash) signal -KILL ;;
stop) run $bin/pg_ctl -D $folder/data -m immediate -w -s stop ;;
start)
    # After a crash, what its processes leave behind is in the way for a moment.
    for attempt in 1 2 3 4 5; do
        run $bin/pg_ctl -D $folder/data -w -s -l $folder/log start \\
            -o "-p $port -k $folder -c listen_addresses=127.0.0.1 -c max_connections=300 \$2" >/dev/null && exit 0
        sleep 1
    done
    exit 1
    ;;
esac
END
chmod 755 "$control"
trap '"$control" resume 2>/dev/null || true; "$control" stop 2>/dev/null || true; rm -rf "$folder"' EXIT

as "$bin/initdb" -D "$folder/data" -U dropreel -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
"$control" start
address=postgres://dropreel@127.0.0.1:$port
