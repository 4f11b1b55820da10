#!/bin/sh
# Runs a mail server beside others that its package conflicts with: a mount namespace in which the unpacked package lies
# over /usr and /etc, its users are made, and /run, /var/spool and /var/lib are empty and private. The machine stays as
# it is, and all of it ends with the process that unshare started.
#
#   unshare --mount --pid --fork --kill-child sh room.sh PACKAGE_FOLDER "USER USER..." COMMAND [ARGUMENT...]
#
# PACKAGE_FOLDER may be empty or missing: the server is then the machine's own. The network, /tmp and all other folders
# are shared with the machine; /mnt is not.
set -eu
package=$1
users=$2
shift 2

mount --make-rprivate /
mount -t proc proc /proc
layers=/mnt
mount -t tmpfs tmpfs "$layers"

for folder in usr etc; do
  mkdir -p "$layers/$folder-upper" "$layers/$folder-work" "$layers/none"
  over=$package/$folder
  [ -d "$over" ] || over=$layers/none
  mount -t overlay overlay \
    -o "lowerdir=$over:/$folder,upperdir=$layers/$folder-upper,workdir=$layers/$folder-work" "/$folder"
done
for folder in run var/spool var/lib; do
  mount -t tmpfs -o mode=755 tmpfs "/$folder"
  [ ! -d "$package/$folder" ] || cp -a "$package/$folder/." "/$folder/"
done
chmod 755 /var/spool /var/lib

for user in $users; do
  id "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /nonexistent "$user"
done
# This shell stays the namespace's first process: the kernel ends the others with it, and it is ended with unshare, which a
# setuid program in its place would not be.
"$@" &
wait $!
