#!/bin/bash
# The init of a machine that makes disks which nothing can make without a kernel that has their layer. `maker=WORD` says which.
set -eu
mkdir -p /proc /sys /dev /mnt
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
trap 'echo "maker: failed in line $LINENO"; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
modprobe virtio_pci
modprobe virtio_blk
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do sleep 0.1; done
word=$(tr ' ' '\n' </proc/cmdline | while IFS== read -r key value; do [ "$key" != maker ] || echo "$value"; done)
case $word in
btrfs-raid1)
    modprobe btrfs
    mount -t btrfs /dev/vda /mnt
    btrfs device add -f /dev/vdb /mnt
    btrfs balance start -dconvert=raid1 -mconvert=raid1 /mnt
    umount /mnt
    ;;
*) echo "maker: nothing is known of \"$word\"" && false ;;
esac
sync
trap - EXIT
echo "maker: all is made"
echo o >/proc/sysrq-trigger
sleep 60
