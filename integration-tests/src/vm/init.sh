#!/bin/busybox sh
# The first process of the machine: loads the drivers, mounts the two disks, and goes over to the Debian on the first.
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t devtmpfs d /dev
while read -r module; do $b insmod "/$module"; done </order
tries=0
while [ ! -b /dev/vdb ] && [ $tries -lt 100 ]; do $b usleep 100000; tries=$((tries + 1)); done
$b mount -t ext4 /dev/vda /mnt
$b mount -t ext4 -o ro /dev/vdb /mnt/vm
$b mount --move /dev /mnt/dev
$b umount /proc
exec $b switch_root /mnt /vm/run plain
