#!/bin/sh
# First process of a machine of the local cloud, after node-start: does at boot what systemd and Google's guest agent do.
# Arguments: address and port of the local cloud.
set -u
cloud=$1:$2

PATH=/usr/local/bin:$PATH
export PATH

# The metadata server answers from outside of the machine, through a network namespace of its own, so that what the machine
# does to packets on their way out (DOCKER-USER) is done to these, too. Google's is reached the same way.
metadata_network() {
  # The name of the last boot's may still be there.
  rm -f /run/netns/metadata /var/run/netns/metadata
  echo 1 >/proc/sys/net/ipv4/ip_forward &&
    ip netns add metadata &&
    ip link add metadata0 type veth peer name eth0 netns metadata &&
    ip address add 169.254.169.253/30 dev metadata0 &&
    ip link set metadata0 up &&
    ip netns exec metadata sh -ec "
      echo 1 >/proc/sys/net/ipv4/ip_forward
      echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
      ip address add 169.254.169.254/30 dev eth0
      ip link set lo up
      ip link set eth0 up
      ip route add default via 169.254.169.253
      iptables -w -t nat -A PREROUTING -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to-destination $cloud
      iptables -w -t nat -A POSTROUTING -o eth0 -j MASQUERADE" &&
    iptables -w -t nat -A POSTROUTING -s 169.254.169.254 ! -o metadata0 -j MASQUERADE &&
    iptables -w -I FORWARD -i metadata0 -j ACCEPT &&
    iptables -w -I FORWARD -o metadata0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
}

# A disk is a folder here: what mounts it by its device's name gets the folder (see mount.sh).
disks() {
  mkdir -p /dev/disk/by-id
  for disk in /disks/*; do
    [ -d "$disk" ] || continue
    rm -f "/dev/disk/by-id/google-${disk##*/}"
    ln -s "$disk" "/dev/disk/by-id/google-${disk##*/}"
  done
}

# Runs a script of the metadata, if there is one. Whether it succeeds is its own business, as at Google.
run_script() {
  url=http://169.254.169.254/computeMetadata/v1/instance/attributes/$1
  curl --silent --fail --max-time 10 --retry 5 --retry-connrefused --header 'Metadata-Flavor: Google' --output "/run/$1" "$url" || return 0
  chmod 700 "/run/$1"
  { "/run/$1" 2>&1; echo "exit status $?"; } | while IFS= read -r line; do echo "$1: $line"; done
}

power_off() {
  trap - TERM
  run_script shutdown-script
  systemctl stop docker.service
  echo "machine: off"
  exit 0
}

metadata_network || { echo "machine: the metadata server can not be reached: ip and iptables must work in nodes"; exit 1; }
disks
# A machine that had an engine before starts it by itself. A new one has its startup script do that.
[ ! -d /var/lib/docker/containers ] || systemctl start docker.service
echo "machine: up"
trap power_off TERM
run_script startup-script &
while :; do
  sleep 86400 &
  wait $!
done
