#!/bin/sh
# First process of a node: makes the container a place where an engine can run, then becomes the engine.
# Runs with all capabilities but CAP_SYS_RESOURCE, in namespaces of its own. Arguments go to dockerd, or after the word
# `machine` to a machine of the local cloud.

# Mounts come read-only because the container is not privileged; the engine sets cgroups and kernel parameters.
mount -o remount,rw /sys 2>/dev/null
while read -r _ target kind _; do
  case $kind in cgroup | cgroup2) mount -o remount,bind,rw "$target" 2>/dev/null ;; esac
done </proc/mounts
mount -o remount,rw /sys/fs/cgroup 2>/dev/null
mount -o remount,rw /proc/sys 2>/dev/null || umount /proc/sys 2>/dev/null

# cgroup v2: a group with processes in it can't hand controllers to its children, so the processes move down first.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/init
  while read -r process; do
    echo "$process" >/sys/fs/cgroup/init/cgroup.procs
  done </sys/fs/cgroup/cgroup.procs 2>/dev/null
  read -r controllers </sys/fs/cgroup/cgroup.controllers
  for controller in $controllers; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
  done 2>/dev/null
fi

# Where overlayfs can't be stacked, dockerd falls back to fuse-overlayfs, which needs its device.
[ -c /dev/fuse ] || mknod /dev/fuse c 10 229 2>/dev/null

# Process ids of an earlier life must not be found after a restart of the container.
mount -t tmpfs -o mode=755 tmpfs /var/run

# dockerd starts these often, iptables a dozen times for each container with a port, and each start holds all of
# dockerd's open files for a moment: long enough, where the root file system is slow (fuse-overlayfs), to make a secret of
# another starting container look open, which then fails with "unable to remount dir as readonly: device or resource
# busy". From memory they start at once (measured: 0.8 % of all starts failed before, below 0.2 % after).
mkdir /var/run/fast
for program in /usr/bin/xtables-*-multi /usr/bin/runc /usr/bin/docker-init /usr/lib64/ld-linux* /usr/lib/ld-linux*; do
  [ -f "$program" ] || continue
  cp "$program" /var/run/fast/
  mount --bind "/var/run/fast/${program##*/}" "$program"
done

# Kernels know one or both forms of iptables; the first one that answers is used.
for form in legacy nft; do
  if "/opt/iptables-$form/iptables" -w -t nat -L -n >/dev/null 2>&1; then
    PATH=/opt/iptables-$form:$PATH
    break
  fi
done
export PATH

# A machine of the local cloud is more than an engine.
if [ "${1-}" = machine ]; then
  shift
  exec /usr/bin/machine "$@"
fi

exec dockerd --host=unix:///run/node/docker.sock "$@"
