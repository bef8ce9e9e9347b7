#!/bin/busybox sh
# First program of the KVM host: reaches the shared root, lays a memory overlay over it and goes there. Only busybox is here.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
fail() { echo "kvm-host: $*"; $bb poweroff -f; }
for module in /modules/*; do $bb insmod "$module" || fail "cannot load $module"; done
$bb mount -t virtiofs -o ro tskata-root /lower || fail "cannot mount the shared root"
$bb mount -t tmpfs -o mode=755 tmpfs /upper || fail "no memory for the overlay"
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root || fail "cannot lay the overlay"
# A file system of the host's own on a directory; what the job needs of the shared one stays to be seen.
IFS='
'
cover() {
  count=0
  for keep in $($bb cat /job/keep); do
    case "$keep" in "$1"/*) ;; *) continue ;; esac
    count=$((count + 1))
    $bb mkdir -p "/keep/$count"
    $bb mount --bind "/root$keep" "/keep/$count" || fail "cannot keep $keep"
  done
  $bb mkdir -p "/root$1"
  $bb mount -t tmpfs -o "mode=$2" tmpfs "/root$1" || fail "no memory for $1"
  count=0
  for keep in $($bb cat /job/keep); do
    case "$keep" in "$1"/*) ;; *) continue ;; esac
    count=$((count + 1))
    $bb mkdir -p "/root$keep"
    $bb mount --move "/keep/$count" "/root$keep" || fail "cannot keep $keep"
  done
}
cover /tmp 1777
cover /var/tmp 1777
cover /run 755
$bb mount -t devtmpfs devtmpfs /root/dev && $bb mkdir -p /root/dev/shm /root/dev/pts
$bb mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
$bb cp -r /job /root/run/job
$bb umount /proc
$bb umount /sys
exec $bb switch_root /root /bin/sh "$($bb cat /root/run/job/checkout)/test/kvm/guest/start.sh"
fail "cannot enter the shared root"
