"""Where everything is, which addresses and ports are used, and the switches of the environment."""
import os
import sys
import time

TESTBED = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = os.path.join(TESTBED, 'lib')
TEMPLATES = os.path.join(TESTBED, 'templates')
HOME = os.path.abspath(os.environ.get('TESTBED_HOME', '/var/tmp/testbed'))
SHARED = os.path.join(HOME, 'shared')
CLOUDS_FILE = os.path.join(HOME, 'clouds.yaml')
MARIADB_SOCKET = os.path.join(SHARED, 'mysql.sock')

CHILDREN_MAX = 9
PYTHON = '/usr/bin/python3'


class Failure(Exception):
    """Something the person at the keyboard has to know, in one readable message."""


def _number(name, default, lowest, highest):
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not lowest <= int(text) <= highest:
        sys.exit('testbed: %s must be a number from %d to %d, not %r' % (name, lowest, highest, text))
    return int(text)


OCTAVIA = _number('TB_OCTAVIA', 0, 0, 1) == 1
HOSTS = _number('TB_HOSTS', 1, 1, 2)
# Servers are real machines (QEMU by Nova's libvirt driver) instead of entries of a fake hypervisor.
GUESTS = _number('TB_GUESTS', 0, 0, 1) == 1
if GUESTS and HOSTS > 1:
    sys.exit('testbed: TB_GUESTS=1 goes with one host per cloud: there are no tunnels between hosts')
# A second testbed beside the first needs another TESTBED_HOME and another number: its own addresses and ports.
NUMBER = _number('TB_NUMBER', 0, 0, 9)

# Below those that the kernel gives to outgoing connections, one of which may be there first.
RABBIT_PORT = 25872 + 10 * NUMBER
RABBIT_DISTRIBUTION_PORT = 25873 + 10 * NUMBER
EPMD_PORT = 24369 + 10 * NUMBER

PORTS = {'identity': 5000, 'image': 9292, 'placement': 8778, 'compute': 8774, 'network': 9696, 'volume': 8776}
DATABASES = ['keystone', 'glance', 'placement', 'nova_api', 'nova', 'nova_cell0', 'neutron', 'cinder']
if OCTAVIA:
    PORTS['load-balancer'] = 9876
    DATABASES.append('octavia')

# What services inherit, and nothing else: a caller's virtualenv, proxy or locale must not reach them.
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'HOME': '/root', 'PYTHONPATH': LIB,
               'PYTHONUNBUFFERED': '1', 'PYTHONWARNINGS': 'ignore'}

_begun = time.monotonic()


def log(*words):
    """Progress goes to standard error: standard output is for answers (status, mem, leftovers)."""
    print('[%6.1fs]' % (time.monotonic() - _begun), *words, file=sys.stderr, flush=True)
