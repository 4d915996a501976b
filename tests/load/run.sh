#!/bin/sh
# Runs a load program against a server of its own, which is started on a free port and ended with it.
#
#   run.sh SERVER [SERVER-OPTION...] -- PROGRAM [OPTION...]
#
# SERVER is longpolld or slow_store_server: it gets --listen 127.0.0.1:0 and says on its standard
# output where it listens. In the program's options URL stands for that and PID for the server's
# process; in those of the server DIR stands for a directory of its own, and TLS for the options of a
# certificate that is made here.
#
# STATS among the server's options stands for a file that it writes its own figures into on SIGUSR1, as
# slow_store_server does. The program is then run twice: waiters, connections and allocated bytes must
# be after the second time what they were after the first.
set -eu

work=$(mktemp -d)
server=
trap 'test -n "$server" && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Free lists, and a category of each round.
slack_bytes=65536
stats=

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -subj /CN=load -nodes \
        -keyout "$work/key.pem" -out "$work/chain.pem" 2>/dev/null
}

# One word of the command line with what it stands for.
replace() {
    case $1 in
    TLS) make_certificate && echo "--tls-chain $work/chain.pem --tls-key $work/key.pem" ;;
    STATS) echo "$work/stats" ;;
    *DIR*) echo "$1" | sed "s|DIR|$work|g" ;;
    URL) echo "$scheme://$address" ;;
    PID) echo "$server" ;;
    *) echo "$1" ;;
    esac
}

# Waits until a command succeeds while the server runs; 30 seconds at most.
until_true() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then
            return 1
        fi
        sleep 0.05
    done
}

says_where() {
    address=$(grep -o -m 1 '127\.0\.0\.1:[0-9]*' "$work/said")
}

# "waiters N connections N allocated N" of now.
read_stats() {
    rm -f "$work/stats"
    kill -USR1 "$server"
    until_true test -e "$work/stats" || { echo "$command wrote no figures" >&2; exit 1; }
    cat "$work/stats"
}

compare_stats() {
    # shellcheck disable=SC2086 # six words each
    set -- $1 $2
    echo "waiters $2, then $8; connections $4, then ${10}; allocated $6, then ${12}"
    [ "$2" = 0 ] && [ "$8" = 0 ] && [ "$4" = "${10}" ] && [ $((${12} - $6)) -le $slack_bytes ]
}

command=$1
shift
options=
while [ "$1" != -- ]; do
    test "$1" = STATS && stats=yes
    options="$options $(replace "$1")"
    shift
done
shift
: >"$work/said"
# shellcheck disable=SC2086 # no option of a test has blanks
"$command" --listen 127.0.0.1:0 $options >"$work/said" &
server=$!
until_true says_where || { echo "$command did not say where it listens" >&2; exit 1; }

scheme=http
if grep -q https "$work/said"; then
    scheme=https
fi
options=
for option; do
    options="$options $(replace "$option")"
done
status=0
# shellcheck disable=SC2086
$options || status=$?
if [ -n "$stats" ] && [ $status = 0 ]; then
    first=$(read_stats)
    # shellcheck disable=SC2086
    $options || status=$?
    compare_stats "$first" "$(read_stats)" || { echo "$command kept something"; status=1; }
fi

# A server that does not end well has failed too.
kill "$server"
wait "$server" || { echo "$command ended with status $?"; status=1; }
server=
exit $status
