# image.sh PEER SET KERNEL: makes /boot-test/SET.img in a root of that generator; /boot-test/SET holds the files that are laid into it.
set -eu
peer=$1 set=$2 kernel=$3
cd /boot-test
mkdir -p "$set"
storage='xfsprogs f2fs-tools bcache-tools thin-provisioning-tools multipath-tools kpartx mdadm kbd console-setup'
network='open-iscsi nbd-client nvme-cli curl'

mkosi_initrd() {
    # What its users write into a drop-in: packages and modules for which it has no profile.
    conf=/etc/mkosi-initrd
    rm -rf "$conf"
    mkdir -p "$conf"
    cp -a "/boot-test/$set" "$conf/mkosi.extra"
    profiles='--profile=lvm'
    case $set in
    plain | machine) ;;
    *)
        profiles='--profile=lvm --profile=raid'
        packages=$storage
        modules='dm-thin-pool f2fs bcache dm-multipath dm-round-robin dm-service-time scsi_dh_alua dm-snapshot'
        case $set in network)
            profiles="$profiles --profile=network --profile=nfs"
            packages="$packages $network"
            modules="$modules nbd nvme-tcp iscsi_tcp libiscsi af_packet bridge nfs nfsv3 nfsv4"
            ;;
        esac
        printf '[Content]\nPackages=%s\nKernelModules=%s\n' "$packages" "$modules" >"$conf/mkosi.conf"
        ;;
    esac
    mkdir -p /usr/lib/firmware # which it takes along, be it empty
    # shellcheck disable=SC2086
    mkosi-initrd -g $profiles -k "$kernel" --kernel-image "/boot/vmlinuz-$kernel" -O /boot-test -o "$set.img"
}

dracut_() {
    set -- --force --zstd --kver "$kernel"
    case $set in
    machine) set -- "$@" --hostonly --hostonly-mode sloppy --no-hostonly-default-device --no-hostonly-cmdline --filesystems ext4 \
        --add-drivers 'virtio_blk virtio_pci virtio_scsi virtio_rng' ;;
    plain) set -- "$@" --no-hostonly ;;
    *)
        more='systemd-sysext systemd-integritysetup systemd-veritysetup systemd-repart overlayfs multipath mdraid bcache'
        remote='network nfs iscsi nbd nvmf livenet'
        if [ "$set" = network ]; then more="$more $remote"; else set -- "$@" --omit "$remote"; fi
        known=
        for module in $more; do
            ! ls -d /usr/lib/dracut/modules.d/[0-9]*"$module" >/dev/null 2>&1 || known="$known $module"
        done
        set -- "$@" --no-hostonly --add "$known"
        ;;
    esac
    for file in $(cd "/boot-test/$set" && find . -type f); do
        set -- "$@" --include "/boot-test/$set/$file" "${file#.}"
    done
    dracut "$@" "/boot-test/$set.img"
}

initramfs_tools() {
    conf=/tmp/conf
    cp -a /etc/initramfs-tools "$conf"
    how=most
    [ "$set" != machine ] || how=dep
    sed -i "s/^MODULES=.*/MODULES=$how/" "$conf/initramfs.conf"
    printf '#!/bin/sh\ncase $1 in prereqs) exit 0;; esac\ncp -a /boot-test/%s/. "$DESTDIR/"\n' "$set" >"$conf/hooks/boot-test"
    chmod 755 "$conf/hooks/boot-test"
    # The hook of cryptsetup asks the root's crypttab and this word.
    printf 'CRYPTSETUP=y\n' >>/etc/cryptsetup-initramfs/conf-hook
    : >/etc/crypttab
    if [ -e "$set/etc/crypttab" ]; then cp "$set/etc/crypttab" /etc/crypttab; fi
    if [ -e "$set/etc/vconsole.conf" ]; then
        printf 'XKBMODEL=pc105\nXKBLAYOUT=us\nXKBVARIANT=dvorak\nXKBOPTIONS=\n' >/etc/default/keyboard
        setupcon --save-only || true
        sed -i 's/^KEYMAP=.*/KEYMAP=y/' "$conf/initramfs.conf"
    fi
    mkinitramfs -d "$conf" -o "/boot-test/$set.img" "$kernel"
}

case $peer in
mkosi-initrd) mkosi_initrd ;;
dracut) dracut_ ;;
initramfs-tools) initramfs_tools ;;
esac
