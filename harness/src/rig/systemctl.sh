#!/bin/sh
# What scripts on nodes ask systemd for, as far as a machine of the local cloud has it: the engine, started, stopped and
# restarted. Everything else is an error, as on a machine without that unit.
verb=$1
shift
pid_file=/var/run/docker.pid

runs() { [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; }

start() {
  runs && return 0
  rm -f "$pid_file"
  group=$(stat -c %g /run/node)
  setsid dockerd --host=unix:///var/run/docker.sock --host=unix:///run/node/docker.sock --group="$group" \
    --userland-proxy=false >>/var/log/docker.log 2>&1 &
  until [ -S /var/run/docker.sock ] && runs; do
    kill -0 $! 2>/dev/null || { echo "Job for docker.service failed, see /var/log/docker.log"; tail -n 3 /var/log/docker.log; return 1; }
    sleep 0.05
  done
}

stop() {
  runs || return 0
  kill "$(cat "$pid_file")"
  while runs; do sleep 0.05; done
  rm -f /var/run/docker.sock
}

for unit; do
  case $unit in
  -*) continue ;;
  docker | docker.service) ;;
  # The socket is the engine's own here.
  docker.socket) continue ;;
  *)
    echo "Unit $unit could not be found: a machine of the local cloud has docker.service only" >&2
    exit 5
    ;;
  esac
  case $verb in
  start) start || exit 1 ;;
  stop) stop ;;
  restart) stop; start || exit 1 ;;
  is-active) runs || exit 3 ;;
  enable) ;;
  *)
    echo "systemctl $verb is not here" >&2
    exit 1
    ;;
  esac
done
