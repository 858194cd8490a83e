#!/bin/bash
# The init of a machine that makes disks which nothing can make without a kernel that has their layer. `maker=WORD` says which.
set -eu
mkdir -p /proc /sys /dev /mnt
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
trap 'echo "maker: failed in line $LINENO"; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
# Nobody answers for udev here.
export DM_DISABLE_UDEV=1
modprobe virtio_pci
modprobe virtio_blk
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do sleep 0.1; done
# Writes the root to the volume, and nothing to the rest of it: what was never written has no checksum, and cannot be read, not even to be
# written in part. So it is written past the cache, up to where there is no space left, and then read.
fill() {
    dd if=/dev/vdb of=/dev/mapper/root bs=1M
    sync
    dd if=/dev/zero of=/dev/mapper/root bs=64K oflag=direct,seek_bytes seek="$(blockdev --getsize64 /dev/vdb)" || true
    dd if=/dev/mapper/root of=/dev/null bs=1M
}
word=$(tr ' ' '\n' </proc/cmdline | while IFS== read -r key value; do [ "$key" != maker ] || echo "$value"; done)
case $word in
btrfs-raid1)
    modprobe btrfs
    mount -t btrfs /dev/vda /mnt
    btrfs device add -f /dev/vdb /mnt
    btrfs balance start -dconvert=raid1 -mconvert=raid1 /mnt
    umount /mnt
    ;;
integrity)
    integritysetup format --batch-mode --no-wipe /dev/vda
    integritysetup open /dev/vda root
    fill
    integritysetup close root
    ;;
luks-integrity)
    printf %s "correct horse" >/key
    cryptsetup luksFormat --batch-mode --type luks2 --uuid 6d6b696e-6974-4264-8000-6c756b730001 --pbkdf pbkdf2 \
        --pbkdf-force-iterations 1000 --cipher aes-xts-plain64 --key-size 256 --sector-size 4096 \
        --integrity hmac-sha256 --integrity-no-wipe --key-file /key /dev/vda
    cryptsetup open --key-file /key /dev/vda root
    fill
    cryptsetup close root
    ;;
*) echo "maker: nothing is known of \"$word\"" && false ;;
esac
sync
trap - EXIT
echo "maker: all is made"
echo o >/proc/sysrq-trigger
sleep 60
