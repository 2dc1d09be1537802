#!/bin/bash
# build.sh IMAGE: make the disk that the testbed's guests boot, from Debian's own packages: its cloud kernel, busybox and
# dropbear, in a bootable qcow2 of some 20 MB. It boots in a few seconds with 128 MB, asks DHCP for its addresses, takes
# its name and keys from the config drive, and lets root in by SSH.
# Safe to repeat: what is there is kept, unless what it is made from is newer. Needs neither loop devices nor mounts.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
image=$(realpath -m "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
modules=(virtio_pci virtio_blk virtio_net virtio_scsi virtio-rng virtio_balloon ata_piix sr_mod sd_mod isofs vfat
  nls_cp437 nls_ascii nls_iso8859-1 button evdev)
if [ -s "$image" ] && [ -z "$(find "$here" -newer "$image" -print -quit)" ]; then exit 0; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/testbed-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"

# The kernel comes out of its package: installed, it would have this machine rebuild its own boot files.
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
[ -n "$kernel" ] || { echo "guest: apt knows no linux-image-cloud-amd64" >&2; exit 1; }
apt-get -o Acquire::Retries=5 -qq download "$kernel" 2> download.log || { cat download.log >&2; exit 1; }
dpkg-deb -x "$kernel"_*.deb kernel
version=${kernel#linux-image-}

mkdir -p root/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,mnt,root/.ssh,etc/dropbear,var/log,lib/modules}
chmod 700 root/root root/root/.ssh
cp /bin/busybox root/bin/busybox
for applet in $(busybox --list-full); do
  mkdir -p "root/$(dirname "$applet")"
  [ -e "root/$applet" ] || ln -s /bin/busybox "root/$applet"
done
# what busybox has none of: SSH, and what tests ask about disks
for program in /usr/sbin/dropbear /usr/bin/lsblk /sbin/blkid; do
  cp "$program" "root$program"
  ldd "$program" | grep -o '/[^ )]*'
done | sort -u | while read -r library; do
  mkdir -p "root/$(dirname "$library")"
  cp -L "$library" "root/$library"
done
cp -r "$here/root/." root/
chmod 755 root/init root/etc/{rc,udhcpc,acpi/PWRF/00000080} root/usr/bin/sudo

# The modules that a guest can need and what they stand on, in the order in which they load.
depmod -b kernel "$version"
mkdir -p "root/lib/modules/$version"
for module in "${modules[@]}"; do
  modprobe -d "$work/kernel" -S "$version" --ignore-install --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "root/lib/modules/$version/"
  basename "$file" >> root/lib/modules/order
done
(cd root && find . | cpio --quiet -o -H newc -R 0:0) | gzip -9 > initrd

# One partition behind GRUB. Its first stage looks for the second in the sector behind it, where it is by the mere order.
cp "kernel/boot/vmlinuz-$version" vmlinuz
size_mib=$((($(stat -c %s vmlinuz) + $(stat -c %s initrd)) / 1048576 + 4))
cat > early.cfg <<'CFG'
set root=(hd0,msdos1)
linux /vmlinuz console=tty0 console=ttyS0 quiet panic=5
initrd /initrd
boot
CFG
grub-mkimage -O i386-pc -o core.img -c early.cfg -p '(hd0,msdos1)/' biosdisk part_msdos fat linux normal minicmd
[ "$(stat -c %s core.img)" -lt $((2047 * 512)) ] || { echo 'guest: GRUB does not fit before the partition' >&2; exit 1; }
truncate -s "$((size_mib + 1))M" disk
dd if=/usr/lib/grub/i386-pc/boot.img of=disk bs=512 count=1 conv=notrunc status=none
dd if=core.img of=disk bs=512 seek=1 conv=notrunc status=none
# its table: one FAT partition, active, from sector 2048 to the end; GRUB keeps code for floppies where the rest goes
sectors=$((size_mib * 2048))
printf '\x80\0\0\0\x0e\0\0\0\0\x08\0\0'"$(printf '\\x%02x' $((sectors & 255)) $((sectors >> 8 & 255)) $((sectors >> 16)) 0)" |
  cat - <(head -c 48 /dev/zero) | dd of=disk bs=1 seek=446 conv=notrunc status=none
truncate -s "${size_mib}M" files
mkfs.fat -F 16 files > mkfs.log
mcopy -i files vmlinuz initrd ::
dd if=files of=disk bs=1M seek=1 conv=notrunc status=none
mkdir -p "$(dirname "$image")"
qemu-img convert -f raw -O qcow2 disk "$image.new"
mv "$image.new" "$image"
echo "guest: $image, $(stat -c %s "$image") bytes, kernel $version" >&2
