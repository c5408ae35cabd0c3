#!/bin/busybox sh
# Prepares the machine for the tests of a start, whose name is on the kernel's command line, and runs them: as the first process, or,
# called with `systemd`, as a unit.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
run() {
    /vm/xtask in-guest "$(sed 's/.*davit\.boot=\([a-z]*\).*/\1/' /proc/cmdline)"
    sync
    echo 'davit: the machine has come to its end'
    # The serial line drains before the power goes.
    sleep 1
    busybox poweroff -f
}
is() {
    grep -qw "davit.boot=$1" /proc/cmdline
}
if [ "$1" = systemd ]; then
    run
fi
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 -opost
stty -F /dev/ttyS1 raw
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    ln -s "${link#*:}" "/dev/${link%%:*}"
done
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security
hostname vm
ip link set lo up
modprobe -a overlay fuse loop 2>/dev/null
# systemd mounts the cgroups itself.
if is systemd || is hybrid; then
    exec /lib/systemd/systemd
fi
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
if is selinux; then
    mount -t selinuxfs selinuxfs /sys/fs/selinux
    # One write: the kernel takes a policy whole.
    secilc -c 33 -f /dev/null -o /run/policy /vm/policy.cil
    dd if=/run/policy of=/sys/fs/selinux/load bs=16M status=none && echo 1 >/sys/fs/selinux/enforce
fi
run
