#!/bin/bash
# libvirtd.sh FOLDER: a libvirtd all of whose state is in FOLDER, beside any other of this machine. It takes no paths for
# most of it, so it gets its own view of the places where it looks.
set -euo pipefail
if [ "${2:-}" != inside ]; then exec unshare --mount "$0" "$1" inside; fi
folder=$1
for pair in run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt etc:/etc/libvirt; do
  mkdir -p "$folder/${pair%%:*}" "${pair#*:}"
  mount --bind "$folder/${pair%%:*}" "${pair#*:}"
done
# It insists on a user that Debian makes with a package of its own, even to run guests as another.
for pair in 'passwd libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' 'group libvirt-qemu:x:64055:' 'group kvm:x:64056:'; do
  file=${pair%% *} line=${pair#* }
  [ -e "$folder/$file.there" ] || cp "/etc/$file" "$folder/$file.there"
  grep -q "^${line%%:*}:" "$folder/$file.there" || echo "$line" >> "$folder/$file.there"
done
for file in passwd group; do mount --bind "$folder/$file.there" "/etc/$file"; done
cat > /etc/libvirt/libvirtd.conf <<'CONF'
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
mdns_adv = 0
log_outputs = "3:stderr"
CONF
# No guest is kept from anything, nor put into control groups: this may itself be a container.
cat > /etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
stdio_handler = "file"
CONF
exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$folder/run/libvirtd.pid"
