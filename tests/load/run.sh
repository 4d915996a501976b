#!/bin/sh
# Runs a load program against a server of its own, which is started on a free port and ended with it.
#
#   run.sh SERVER [SERVER-OPTION...] -- PROGRAM [OPTION...]
#
# SERVER is longpolld or slow_store_server: it gets --listen 127.0.0.1:0 and says on its standard
# output where it listens. PROGRAM gets the URL as its first argument; in its options PID stands for
# the server's process, and in those of both STATS for a file in a directory of their own and DIR for
# that directory. TLS among the server's options stands for those of a certificate that is made here.
set -eu

work=$(mktemp -d)
server=
trap 'test -n "$server" && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

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
    PID) echo "$server" ;;
    *) echo "$1" ;;
    esac
}

command=$1
shift
options=
while [ "$1" != -- ]; do
    options="$options $(replace "$1")"
    shift
done
shift
: >"$work/said"
# shellcheck disable=SC2086 # no option of a test has blanks
"$command" --listen 127.0.0.1:0 $options >"$work/said" &
server=$!

tries=0
until address=$(grep -o -m 1 '127\.0\.0\.1:[0-9]*' "$work/said"); do
    tries=$((tries + 1))
    if [ $tries -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then
        echo "$command did not say where it listens" >&2
        exit 1
    fi
    sleep 0.05
done

scheme=http
if grep -q https "$work/said"; then
    scheme=https
fi
program=$1
shift
options=
for option; do
    options="$options $(replace "$option")"
done
status=0
# shellcheck disable=SC2086
"$program" "$scheme://$address" $options || status=$?

# A server that does not end well has failed too.
kill "$server"
wait "$server" || { echo "$command ended with status $?"; status=1; }
server=
exit $status
