#!/bin/sh
# Stands in for sulogin, which would only say that root is locked. Made by mkinitrd-pkg.
read -r cmdline </proc/cmdline
case " $cmdline " in
*" SYSTEMD_SULOGIN_FORCE=1 "*|*" SYSTEMD_SULOGIN_FORCE "*|*" systemd.setenv=SYSTEMD_SULOGIN_FORCE=1 "*)
    export SYSTEMD_SULOGIN_FORCE=1
    [ -x /usr/lib/systemd/systemd-sulogin-shell ] && exec /usr/lib/systemd/systemd-sulogin-shell "$1"
    exec /bin/sh
    ;;
esac
# Without colours: a serial console may be read by a person or a program.
export SYSTEMD_COLORS=0
# Words of the command line are no patterns.
set -f
have() { command -v "$1" >/dev/null 2>&1; }

# Sets `node` to where udev puts what a word like `LABEL=root` means; to nothing if that cannot be told.
find_node() {
    case $1 in
    LABEL=*) node=/dev/disk/by-label/${1#*=} ;;
    UUID=*) node=/dev/disk/by-uuid/${1#*=} ;;
    PARTLABEL=*) node=/dev/disk/by-partlabel/${1#*=} ;;
    PARTUUID=*) node=/dev/disk/by-partuuid/${1#*=} ;;
    /dev/nfs) node= ;;
    /dev/*) node=$1 ;;
    *) node= ;;
    esac
    case $node in
    *[!A-Za-z0-9/:._-]*) node= ;;
    esac
}

# Says what the device of a word is for, if it is not there. $1: the word, $2: its value.
check_device() {
    find_node "$2"
    [ -z "$node" ] || [ -e "$node" ] && return
    echo "  $1: no block device is that (there is no $node)."
    missing_device=1
}

# Says so if an encrypted volume was not opened. $1: its UUID, $2: its name, if the command line gives one.
check_luks() {
    uuid=${1#luks-}
    if ! [ -e "/dev/disk/by-uuid/$uuid" ] && [ -z "$luks_data" ]; then
        echo "  The encrypted volume $uuid is not there."
        missing_device=1
    elif ! [ -e "/dev/mapper/${2:-luks-$uuid}" ]; then
        echo "  The encrypted volume $uuid was not opened: a wrong passphrase, or its key (file, TPM, token) was refused."
    fi
}

# Says which network cards are not connected, or that there is none.
check_network() {
    cards=
    set +f
    for card in /sys/class/net/*; do
        [ "${card##*/}" = lo ] || ! [ -e "$card/operstate" ] && continue
        cards=1
        read -r state <"$card/operstate"
        [ "$state" = down ] && echo "  The network card ${card##*/} has no connection, or was not set up: see ip= and the errors."
    done
    set -f
    [ -n "$cards" ] || echo "  The root is on the network, and there is no network card, or no driver for it in the image (--with net)."
}

# What the command line asks for and is not there, a sentence each.
explain() {
    root= usr= missing_device= luks_data= is_network=
    for word in $cmdline; do
        case $word in
        root=*) root=${word#*=} ;;
        mount.usr=*) usr=${word#*=} ;;
        rd.luks.data=*|luks.data=*) luks_data=1 ;;
        netroot=*|ip=*) is_network=1 ;;
        esac
    done
    for word in $cmdline; do
        value=${word#*=}
        case $word in
        rd.luks.name=*|luks.name=*) check_luks "${value%%=*}" "${value#*=}" ;;
        rd.luks.uuid=*|luks.uuid=*) check_luks "$value" "" ;;
        resume=*) check_device "$word" "$value" ;;
        esac
    done
    if [ -e /proc/mdstat ]; then
        while read -r array _ state _; do
            [ "$state" = inactive ] && echo "  The array $array was not started: too few of its disks are there."
        done </proc/mdstat
    fi
    case $root in
    nfs*|nbd*|iscsi*|/dev/nfs|live:http*) is_network=1 ;;
    esac
    [ -n "$is_network" ] && check_network
    case $root in
    "" | gpt-auto) [ -n "$is_network" ] || is_mounted /sysroot || echo "  The command line names no root=, and no disk has a partition of the type for a root." ;;
    *) check_device "root=$root" "$root" ;;
    esac
    [ -n "$usr" ] && check_device "mount.usr=$usr" "$usr"
    if [ -n "$missing_device" ]; then
        echo "  If its disk is below, the name is wrong or the layer above it was not set up: see the errors. If it is not,"
        echo "  it is not connected, or the image has no driver for it: build one with --full, or with --module NAME."
    elif ! is_mounted /sysroot; then
        [ -n "$root" ] && echo "  The root was not mounted: see the errors."
    elif ! [ -e /sysroot/sbin/init ] && ! [ -L /sysroot/sbin/init ] && ! [ -e /sysroot/usr/lib/systemd/systemd ]; then
        echo "  root=$root is mounted and holds no system: neither /sbin/init nor /usr/lib/systemd/systemd is there."
        [ -z "$usr" ] && echo "  If /usr is a file system of its own, name it with mount.usr=."
        echo "  If the root is in a subvolume, name it with rootflags=subvol=."
    fi
}

is_mounted() {
    while read -r _ place _; do
        [ "$place" = "$1" ] && return 0
    done </proc/mounts
    return 1
}

# The lines of the journal that count: errors, or warnings where there is none.
last_messages() {
    lines=$(journalctl --no-pager --quiet --boot --priority=err --lines=10 --output=short-monotonic 2>/dev/null)
    [ -n "$lines" ] || lines=$(journalctl --no-pager --quiet --boot --priority=warning --lines=6 --output=short-monotonic 2>/dev/null)
    echo "${lines:-  none}"
}

echo
echo "The boot has stopped in the initrd: the real root was not reached."
reasons=$(explain)
if [ -n "$reasons" ]; then
    echo
    echo "What is missing:"
    echo "$reasons"
fi
failed=$(have systemctl && systemctl --no-pager --no-legend --plain --failed)
if [ -n "$failed" ]; then
    echo
    echo "Failed units:"
    echo "$failed"
fi
if have journalctl; then
    echo
    echo "Last errors:"
    last_messages
fi
echo
echo "Kernel command line:"
line=
for word in $cmdline; do
    # Whoever stands before the console may read everything but what would open the disk.
    case $word in
    *[Pp]ass*=*|*[Cc]redential*=*|*[Ss]ecret*=*|*=*:*@*) word="${word%%=*}=(hidden)" ;;
    esac
    line="$line $word"
done
echo " $line"
echo
echo "Block devices:"
devices=
if have lsblk; then
    devices=$(lsblk --noheadings --output NAME,SIZE,TYPE,FSTYPE,LABEL,UUID 2>/dev/null)
elif have blkid; then
    devices=$(blkid 2>/dev/null)
fi
echo "${devices:-  none: there is no disk, or no driver for it in the image}"
echo
echo "There is no shell here, because root has no password in this image. To get one, add"
echo "  SYSTEMD_SULOGIN_FORCE=1"
echo "to the kernel command line in the boot menu and start again."
echo
echo "Press Enter to try once more, Ctrl+Alt+Del to restart."
if read -r answer; then
    systemctl daemon-reload
    exec systemctl --no-block isolate default.target
fi
