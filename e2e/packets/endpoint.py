"""The network side of a machine: a network namespace of its own with one device, and the kernel's own ARP, IP and TCP.

    python3 endpoint.py SOCKET MAC

The device's frames go to and come from a "dummy" port of Open vSwitch that listens on SOCKET (`options:pstream`), each
after its length in two bytes, most significant first. So the switch needs neither privileges nor a kernel module, and
the machine behind the port is as real as any. The namespace ends with this process: nothing is left.

Reads lines of JSON {"id", "do", ...} and writes lines of JSON {"id", "result"} or {"id", "error"}. What can be done are
the functions below whose names begin with do_. Needs root, for the namespace."""
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, SIOCGIFHWADDR = 0x400454CA, 0x8927
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # Python's socket module does not name them
DEVICE = 'eth0'
FRAMES_KEPT = 2000

frames = []
frames_lock = threading.Lock()
output_lock = threading.Lock()


def ip(*args):
    subprocess.run(['ip', *args], check=True, capture_output=True, text=True)


def make_device(mac):
    """In a new namespace: the device, up. Gives the file to which its frames go."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'cannot make a network namespace')
    tap = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack('16sH22x', DEVICE.encode(), IFF_TAP | IFF_NO_PI))
    ip('link', 'set', 'lo', 'up')
    with open('/proc/sys/net/ipv6/conf/%s/accept_dad' % DEVICE, 'w') as file:
        file.write('0')  # addresses serve at once
    ip('link', 'set', DEVICE, 'address', mac, 'up')
    return tap


def keep(direction, frame):
    with frames_lock:
        frames.append((direction, frame))
        del frames[:-FRAMES_KEPT]


def connect(path):
    """The switch listens as soon as it has seen the port's options."""
    for _ in range(200):
        try:
            switch = socket.socket(socket.AF_UNIX)
            switch.connect(path)
            return switch
        except OSError:
            switch.close()
            time.sleep(0.05)
    raise OSError('nothing listens on ' + path)


def out_of_tap(tap, switch):
    while True:
        frame = os.read(tap, 65535)
        keep('out', frame)
        try:
            switch.sendall(struct.pack('!H', len(frame)) + frame)
        except OSError:
            pass  # the port is gone: as a cable that was pulled


def into_tap(tap, switch):
    reader = switch.makefile('rb')
    while True:
        head = reader.read(2)
        if len(head) < 2:
            return
        frame = reader.read(struct.unpack('!H', head)[0])
        keep('in', frame)
        os.write(tap, frame)


def do_configure(addresses, gateways, device=DEVICE):
    """Addresses with their prefixes, and default gateways."""
    for address in addresses:
        ip('addr', 'replace', address, 'dev', device, *(['nodad'] if ':' in address else []))
    for gateway in gateways:
        ip('route', 'replace', 'default', 'via', gateway, 'dev', DEVICE)


def do_lease(wait_ms=5000):
    """As a machine does when it boots: asks for a lease and takes what it says. Gives address, router, MTU and server."""
    end = time.monotonic() + wait_ms / 1000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE.encode())
        client.bind(('', 68))
        client.settimeout(1)
        transaction = os.urandom(4)
        offer = dhcp(client, transaction, end, [(53, bytes([DHCP_DISCOVER]))])
        taken = dhcp(client, transaction, end, [(53, bytes([DHCP_REQUEST])), (50, offer['address']),
                                                (54, offer[54])])
    if taken[53] != bytes([DHCP_ACK]):
        raise OSError('the DHCP server refused what it had offered')
    address = socket.inet_ntoa(taken['address'])
    prefix = bin(struct.unpack('!I', taken[1])[0]).count('1')
    router = socket.inet_ntoa(taken[3][:4]) if 3 in taken else None
    mtu = struct.unpack('!H', taken[26])[0] if 26 in taken else None
    if mtu is not None:
        ip('link', 'set', DEVICE, 'mtu', str(mtu))
    do_configure(['%s/%d' % (address, prefix)], [] if router is None else [router])
    return {'address': address, 'prefix': prefix, 'router': router, 'mtu': mtu, 'server': socket.inet_ntoa(taken[54])}


DHCP_DISCOVER, DHCP_REQUEST, DHCP_ACK = 1, 3, 5
DHCP_COOKIE = bytes([99, 130, 83, 99])


def dhcp(client, transaction, end, options):
    """Sends a message (RFC 2131) until it is answered. Gives the answer's options by number, and the `address`."""
    mac = fcntl.ioctl(client, SIOCGIFHWADDR, struct.pack('256s', DEVICE.encode()))[18:24]
    wanted = [(55, bytes([1, 3, 6, 26, 51, 54, 121]))]
    message = struct.pack('!BBBB4sHH16x16s192x', 1, 1, 6, 0, transaction, 0, 0x8000, mac) + DHCP_COOKIE
    for number, value in options + wanted:
        message += bytes([number, len(value)]) + value
    message += b'\xff'
    while time.monotonic() < end:
        client.sendto(message, ('255.255.255.255', 67))
        try:
            data = client.recv(2048)
        except OSError:
            continue
        if data[0] == 2 and data[4:8] == transaction:
            return {'address': data[16:20], **dhcp_options(data[240:])}
    raise OSError('no DHCP server has answered')


def dhcp_options(data):
    found = {}
    while data and data[0] != 255:
        if data[0] == 0:
            data = data[1:]
            continue
        found[data[0]] = data[2:2 + data[1]]
        data = data[2 + data[1]:]
    return found


def do_addresses():
    """What the device has, and whence: addresses of routers' announcements are `dynamic`."""
    shown = subprocess.run(['ip', '-j', 'addr', 'show', 'dev', DEVICE], check=True, capture_output=True, text=True)
    return [{'address': '%s/%s' % (one['local'], one['prefixlen']), 'dynamic': one.get('dynamic', False)}
            for one in json.loads(shown.stdout)[0]['addr_info'] if one['scope'] == 'global']


def do_forget():
    """Its neighbours: the next packet asks for their MACs anew."""
    ip('neigh', 'flush', 'dev', DEVICE)


def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def do_ping(to, count=3, wait_ms=1000, size=56):
    """Echo requests, one after another. Gives of each reply how many hops its TTL still had."""
    v6 = ':' in to
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    identifier = struct.unpack('!H', os.urandom(2))[0]
    ttls = []
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        if v6:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            raw.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        for sequence in range(count):
            head = struct.pack('!HH', identifier, sequence)
            data = bytes(number & 0xff for number in range(size))
            kind = 128 if v6 else 8
            request = struct.pack('!BBH', kind, 0, 0) + head + data
            if not v6:  # of IPv6 the kernel makes it
                request = struct.pack('!BBH', kind, 0, checksum(request)) + head + data
            try:
                raw.sendto(request, (to, 0))
            except OSError:
                time.sleep(wait_ms / 1000)  # no route or no neighbour: as lost
                continue
            ttl = reply_to(raw, v6, head, time.monotonic() + wait_ms / 1000)
            if ttl is not None:
                ttls.append(ttl)
    return {'sent': count, 'received': len(ttls), 'ttls': ttls}


def reply_to(raw, v6, head, end):
    """Waits for the reply with this identifier and sequence; gives its TTL."""
    while True:
        readable, _, _ = select.select([raw], [], [], max(0, end - time.monotonic()))
        if not readable:
            return None
        data, ancillary, _, _ = raw.recvmsg(65535, 256)
        if v6:
            if data[0] == 129 and data[4:8] == head:
                return struct.unpack('i', ancillary[0][2])[0]
            continue
        message = data[(data[0] & 15) * 4:]
        if message[0] == 0 and message[4:8] == head:
            return data[8]


def do_listen(port):
    """A TCP service that tells each client the address it has come from, then gives back what it gets."""
    server = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(server,), daemon=True).start()


def serve(server):
    while True:
        client, peer = server.accept()
        threading.Thread(target=echo, args=(client, peer[0].removeprefix('::ffff:')), daemon=True).start()


def echo(client, peer):
    with client:
        client.sendall(peer.encode() + b'\n')
        while data := client.recv(65536):
            client.sendall(data)


def do_talk(to, port, size=100000, wait_ms=3000):
    """Connects, has `size` bytes sent back, and gives the address that the service saw.
    {"failure"} where the connection does not come to be or does not carry all of it in time."""
    data = os.urandom(size)
    try:
        with socket.create_connection((to, port), timeout=wait_ms / 1000) as client:
            reader = client.makefile('rb')
            peer = reader.readline().decode().strip()
            sender = threading.Thread(target=send_all, args=(client, data), daemon=True)
            sender.start()
            if reader.read(size) != data:
                return {'failure': 'what came back is not what was sent'}
            return {'seen_as': peer}
    except OSError as error:
        return {'failure': error.strerror or str(error)}


def send_all(client, data):
    try:
        client.sendall(data)
    except OSError:
        pass  # the reader says what is wrong


def do_frames():
    """What has gone out of the device and come in since the last time this was asked, in hexadecimal digits."""
    with frames_lock:
        taken = [{'direction': direction, 'frame': frame.hex()} for direction, frame in frames]
        frames.clear()
    return taken


def answer(request):
    reply = {'id': request.pop('id')}
    try:
        reply['result'] = globals()['do_' + request.pop('do')](**request)
    except subprocess.CalledProcessError as error:
        reply['error'] = '%s: %s' % (' '.join(error.cmd), error.stderr.strip())
    except Exception as error:
        reply['error'] = '%s: %s' % (type(error).__name__, error)
    with output_lock:
        print(json.dumps(reply), flush=True)


def main(path, mac):
    tap = make_device(mac)
    switch = connect(path)
    for pump in (out_of_tap, into_tap):
        threading.Thread(target=pump, args=(tap, switch), daemon=True).start()
    print(json.dumps({'id': 0, 'result': None}), flush=True)
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()


main(*sys.argv[1:])
