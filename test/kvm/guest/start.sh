#!/bin/sh
# Second program of the KVM host, in the shared root: mounts, modules and names of a small host with cgroup v2 only; then
# the job (/run/job, see run.ts); then power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
checkout=$(cat /run/job/checkout)
mount -t proc -o nosuid,noexec,nodev proc /proc
mount -t sysfs -o nosuid,noexec,nodev sysfs /sys
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /var/lib/containerd 2>/dev/null
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
ln -sfn /proc/self/fd /dev/fd
mkdir -p /run/lock
mkdir -p /lib/modules && ln -sfn "$(cat /run/job/modules)" "/lib/modules/$(uname -r)"
hostname kvm-host
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
while read -r module; do modprobe "$module" || echo "kvm-host: no module $module"; done </run/job/load
# The network of the host leads to one other machine, a network namespace, and no further: see HOST and OUTSIDE in host.ts.
ip netns add outside
ip link add eth0 type veth peer name eth0 netns outside
ip addr add 192.0.2.2/24 dev eth0
ip link set eth0 up
ip -n outside addr add 192.0.2.1/24 dev eth0
ip -n outside link set eth0 up
ip route add default via 192.0.2.1
exec <"/dev/hvc0" >"/dev/hvc0" 2>&1
for port in /sys/class/virtio-ports/*; do
  name=$(cat "$port/name" 2>&1) && [ -n "$name" ] && ln -s "/dev/${port##*/}" "/dev/$name"
done
export PATH="$checkout/node_modules/.bin:$PATH" TSKATA_KVM_HOST=1
TSKATA_CACHE=$(cat /run/job/cache)
export TSKATA_CACHE
[ -e /dev/report ] && echo '{"event":"booted"}' >/dev/report
cd "$checkout" || busybox poweroff -f
mkdir -p /run/results
sh /run/job/script
# What is left over for the machine outside: the results that the job put there, and what the kernel has said.
dmesg >/run/results/dmesg.log
[ -e /dev/results ] && tar -C /run/results -cf /dev/results .
sync
busybox poweroff -f
