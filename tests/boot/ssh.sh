#!/bin/sh
# Logs in to a machine that waits for a passphrase, and types it when it is asked for; until the machine says that it goes on. Arguments:
# the directory of this login, the port, the key, the passphrase, and whether there is a terminal.
set -u
dir=$1 port=$2 key=$3 passphrase=$4 terminal=$5
mkfifo "$dir/typed"
while :; do
    : >"$dir/screen"
    ssh "$terminal" -F /dev/null -i "$key" -p "$port" -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
        -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$dir/known_hosts" -o ConnectTimeout=60 root@127.0.0.1 \
        <"$dir/typed" >"$dir/screen" 2>&1 &
    ssh=$!
    exec 3>"$dir/typed"
    # Without a terminal nothing is shown, and what was typed before is read when it is asked for.
    while [ "$terminal" = -tt ] && kill -0 $ssh 2>/dev/null && ! grep -q passphrase "$dir/screen"; do
        sleep 0.5
    done
    if kill -0 $ssh 2>/dev/null; then
        printf '%s\n' "$passphrase" >&3
    fi
    [ "$terminal" = -tt ] || exec 3>&-
    wait $ssh
    status=$?
    cat "$dir/screen"
    [ $status != 0 ] || break
    exec 3>&-
    sleep 2
done
