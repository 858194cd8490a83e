#!/bin/bash
# The init of a machine that gives its disk away over NVMe on TCP. `target=PORT,HOST` says at which port, and to which host alone.
set -eu
mkdir -p /proc /sys /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
trap 'echo "target: failed in line $LINENO"; echo o >/proc/sysrq-trigger; sleep 60' EXIT
for module in virtio_pci virtio_blk virtio_net nvmet nvmet_tcp; do modprobe "$module"; done
until [ -b /dev/vda ] && [ "$(echo /sys/class/net/*)" != /sys/class/net/lo ]; do sleep 0.1; done
word=$(tr ' ' '\n' </proc/cmdline | while IFS== read -r key value; do [ "$key" != target ] || echo "$value"; done)
for path in /sys/class/net/*; do card=${path##*/}; [ "$card" = lo ] || break; done
ip link set "$card" up
# Where QEMU's own network has the host for others: so the address that the target names is the one at which it is reached.
ip address add 10.0.2.2/24 dev "$card"
mount -t configfs configfs /sys/kernel/config
cd /sys/kernel/config/nvmet
host=${word#*,}
subsystem=subsystems/nqn.2026-01.test:disk
mkdir "hosts/$host" "$subsystem" "$subsystem/namespaces/1" ports/1
ln -s "$PWD/hosts/$host" "$subsystem/allowed_hosts/$host"
echo /dev/vda >"$subsystem/namespaces/1/device_path"
echo 1 >"$subsystem/namespaces/1/enable"
echo tcp >ports/1/addr_trtype
echo ipv4 >ports/1/addr_adrfam
echo 10.0.2.2 >ports/1/addr_traddr
echo "${word%%,*}" >ports/1/addr_trsvcid
ln -s "$PWD/$subsystem" ports/1/subsystems/disk
echo "target: listens"
sleep infinity
