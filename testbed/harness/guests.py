"""Servers that are real machines: QEMU, by Nova's own libvirt driver over a libvirtd of each cloud's own. Everything of
it is used with TB_GUESTS=1 alone."""
import glob
import os
import signal
import subprocess
import time

from .processes import last_words, run, start, wait_for, write
from .settings import HOME, NUMBER, TESTBED, log

IMAGE = os.path.join(HOME, 'guest', 'guest.qcow2')
# those of noVNC, behind the consoles' addresses
PAGES = os.path.join(HOME, 'guest', 'novnc')
_ACCELERATOR = os.path.join(HOME, 'guest', 'accelerator')
_BUILD = os.path.join(TESTBED, 'guest', 'build.sh')
_LIBVIRTD = os.path.join(TESTBED, 'guest', 'libvirtd.sh')
BOOT_S = 20
QEMU = 'qemu-system-x86_64'
# of every package that install.sh adds for guests, one
TOOLS = (QEMU, 'libvirtd', 'virsh', 'genisoimage', 'ip', 'busybox', 'dropbear', 'grub-mkimage', 'depmod', 'cpio', 'mkfs.fat',
         'mcopy')


def image():
    """The bytes of the disk that guests boot, made when it is not there."""
    run([_BUILD, IMAGE])
    with open(IMAGE, 'rb') as file:
        return file.read()


def accelerator():
    """kvm where a guest boots by it, else qemu (emulation: slower, but anywhere). A machine may offer KVM and yet not be
    able to run an ordinary kernel by it, so the guest is tried; the answer is kept."""
    if not os.path.exists(_ACCELERATOR):
        run([_BUILD, IMAGE])
        write(_ACCELERATOR, 'kvm' if os.path.exists('/dev/kvm') and _boots_by_kvm() else 'qemu')
        log('guests run by', 'KVM' if accelerator() == 'kvm' else 'emulation: no guest boots by KVM on this machine')
    with open(_ACCELERATOR) as file:
        return file.read()


def _boots_by_kvm():
    console = _ACCELERATOR + '.console'
    guest = subprocess.Popen([QEMU, '-accel', 'kvm', '-m', '128', '-display', 'none', '-snapshot', '-nic', 'none',
                              '-serial', 'file:' + console, '-drive', 'if=virtio,format=qcow2,file=' + IMAGE],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + BOOT_S
        while guest.poll() is None and time.monotonic() < end:
            if os.path.exists(console):
                with open(console, 'rb') as file:
                    if b'testbed guest' in file.read():
                        return True
            time.sleep(0.2)
        return False
    finally:
        guest.kill()
        guest.wait()
        if os.path.exists(console):
            os.unlink(console)


def _namespace(cloud):
    """Open vSwitch gives its user-space datapath a device of a fixed name: one per network namespace, and so per cloud."""
    return 'testbed-%d-%s' % (NUMBER, cloud.name)


def inside(cloud):
    """The beginning of a command that runs in the cloud's network namespace."""
    return ['ip', 'netns', 'exec', _namespace(cloud)]


def _ends(cloud):
    """The addresses of the link between this machine and the cloud's namespace."""
    return ['172.30.%d.%d' % (10 * NUMBER + cloud.number, end) for end in (1, 2)]


def join_machine(cloud):
    """Make the cloud's namespace with a link to it, by which this machine reaches floating addresses; idempotent."""
    namespace = _namespace(cloud)
    here, there = _ends(cloud)
    link = 'tb%d%d' % (NUMBER, cloud.number)
    if not os.path.exists('/run/netns/' + namespace):
        run(['ip', 'netns', 'add', namespace])
    run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up'])
    if not os.path.exists('/sys/class/net/' + link):
        run(['ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'machine', 'netns', namespace])
    run(['ip', 'address', 'replace', here + '/30', 'dev', link])
    run(['ip', 'link', 'set', link, 'up'])
    run(['ip', '-n', namespace, 'address', 'replace', there + '/30', 'dev', 'machine'])
    run(['ip', '-n', namespace, 'link', 'set', 'machine', 'up'])
    run(['ip', 'route', 'replace', '172.24.%d.0/24' % cloud.number, 'via', there])


def be_gateway(cloud):
    """Make the cloud's namespace the gateway of its network `public`."""
    namespace = _namespace(cloud)
    wait_for(cloud.name + ' br-ex', lambda: run(['ip', '-n', namespace, 'link', 'show', 'br-ex']), 20)
    run(['ip', '-n', namespace, 'address', 'replace', '172.24.%d.1/24' % cloud.number, 'dev', 'br-ex'])
    run(['ip', '-n', namespace, 'link', 'set', 'br-ex', 'up'])
    run([*inside(cloud), 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'])


def _folder(cloud):
    return os.path.join(cloud.base, 'libvirt')


def values(cloud):
    """What templates/nova-guests.conf asks for beside what all templates get."""
    run([os.path.join(TESTBED, 'guest', 'pages.sh'), PAGES])
    return {'virt_type': accelerator(), 'libvirt': _folder(cloud), 'pages': PAGES, 'guests_ip': _ends(cloud)[1]}


def start_libvirt(cloud):
    """Start the libvirtd of a cloud and wait until it answers."""
    folder = _folder(cloud)
    start(cloud.base, 'libvirtd', [*inside(cloud), _LIBVIRTD, folder], {'OVS_RUNDIR': cloud.ovn + '/host1'})
    wait_for(cloud.name + ' libvirtd', lambda: run(['virsh', '-c', connection(cloud), 'list', '--name']) is not None, 30,
             explain=lambda: last_words(cloud.base, 'libvirtd'))


def connection(cloud):
    return 'qemu+unix:///system?socket=%s/run/libvirt-sock' % _folder(cloud)


def leave_machine(cloud):
    """Take the cloud's namespace away, and with it every device that is in it or leads to it."""
    if os.path.exists('/run/netns/' + _namespace(cloud)):
        run(['ip', 'netns', 'delete', _namespace(cloud)])


def end_all(cloud):
    """End the machines of a cloud: they are no children of its libvirtd, and outlive it. Nova starts those that ran
    again when it comes up."""
    killed = []
    for file_name in glob.glob(_folder(cloud) + '/run/qemu/*.pid'):
        try:
            with open(file_name) as file:
                pid = int(file.read())
            if QEMU in os.readlink('/proc/%d/exe' % pid):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        except (OSError, ValueError):  # gone meanwhile
            continue
    # the namespace lives as long as one that is in it
    wait_for('the guests of %s to end' % cloud.name,
             lambda: not any(os.path.exists('/proc/%d/exe' % pid) for pid in killed), 10)
