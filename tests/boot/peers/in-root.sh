# Runs a command in a root with mounts of its own. The root becomes a mount point and `/`, which mkosi's sandbox wants.
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
for dir in proc sys dev; do mount --rbind "/$dir" "$dir"; done
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p .before
pivot_root . .before
umount -l /.before
cd /
exec env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
