"""One cloud: its addresses, its processes, and whether it is ready."""
import json
import os
import secrets
from concurrent.futures import ThreadPoolExecutor

from . import databases, guests, ovn
from .configuration import configure
from .processes import last_words, names, running, start, stop, wait_for
from .rest import Administrator, call
from .settings import (CHILDREN_MAX, Failure, GUESTS, HOME, HOSTS, LIB, MARIADB_SOCKET, NUMBER, OCTAVIA, PORTS, PYTHON,
                       RABBIT_PORT)

# What answers tenants, and nothing that holds data or does the work behind: ending these loses nothing but
# requests under way, while servers, networks and volumes live on, as when a real cloud's front end is down.
API_PROCESSES = ['keystone', 'placement', 'glance-api', 'nova-api', 'neutron-server', 'cinder-api']
if OCTAVIA:
    API_PROCESSES.append('octavia-api')

# One cheap read of each service, which also makes it import and connect what it puts off to its first request.
WARMING = {'image': '/v2/images?limit=1', 'placement': '/resource_providers', 'compute': '/v2.1/flavors?limit=1',
           'network': '/v2.0/networks?limit=1', 'volume': '/v3/{project_id}/volumes?limit=1'}


class Cloud:
    def __init__(self, number, name=None):
        self.number = number
        self.name = name or 'child%d' % number
        self.ip = '127.0.%d.%d' % (NUMBER, 10 + number)
        self.base = os.path.join(HOME, self.name)
        self.etc = os.path.join(self.base, 'etc')
        self.ovn = os.path.join(self.base, 'ovn')
        self.memcached = self.ip + ':11211'
        self.message_queue = 'rabbit://tb:tb@127.0.0.1:%d/%s' % (RABBIT_PORT, self.name)
        self.hosts = ['%s-node%d' % (self.name, host + 1) for host in range(HOSTS)]
        self.secrets_file = os.path.join(self.base, 'secrets.json')
        if os.path.exists(self.secrets_file):
            with open(self.secrets_file) as file:
                self.secrets = json.load(file)
        else:
            self.secrets = {'admin': 'admin-%s-%s' % (self.name, secrets.token_hex(4)),
                            'svc': 'svc-' + secrets.token_hex(8)}
        self.admin = Administrator(self)

    def url(self, service, path=''):
        return 'http://%s:%d%s' % (self.ip, PORTS[service], path)

    def database_url(self, database):
        return 'mysql+pymysql://root@localhost/%s_%s?unix_socket=%s&charset=utf8' % (self.name, database, MARIADB_SOCKET)

    # ---- processes

    def _start_uwsgi(self, name, service, script, environment):
        start(self.base, name, [
            'uwsgi', '--plugins', 'python3', '--http-socket', '%s:%d' % (self.ip, PORTS[service]), '--wsgi-file', script,
            '--master', '--processes', '1', '--threads', '4', '--enable-threads', '--thunder-lock',
            '--lazy-apps', '--die-on-term', '--need-app', '--buffer-size', '65535', '--listen', '100',
            '--disable-logging', '--so-keepalive',
            # the default of 4 s drops a client that is slow to send its body (a starting service on a busy core)
            '--socket-timeout', '120',
            # http-socket closes after each answer without saying so: clients that reuse the connection get a reset
            '--add-header', 'Connection: close'], environment)

    def _launch(self, name, target, files, environment=None):
        """Start an OpenStack service by its Python entry point: the packages with the wrapper scripts (nova-api and
        so on) bring system services that are not wanted."""
        command = [PYTHON, LIB + '/launch.py', name.rstrip('0123456789'), target]
        for file in files:
            command += ['--config-file', os.path.join(self.etc, file)]
        start(self.base, name, command, environment)

    def start_keystone(self):
        self._start_uwsgi('keystone', 'identity', '/usr/bin/keystone-wsgi-public',
                          {'OS_KEYSTONE_CONFIG_FILES': self.etc + '/keystone.conf'})

    def start_apis(self):
        """Start the API processes that do not run; slowest first, so that they share the cores longest."""
        self.start_keystone()
        self._launch('neutron-server', 'neutron.cmd.eventlet.server:main', ['neutron.conf', 'ml2_conf.ini'])
        self._launch('nova-api', 'nova.cmd.api_os_compute:main', ['nova.conf'])
        self._launch('cinder-api', 'cinder.cmd.api:main', ['cinder.conf'])
        self._launch('glance-api', 'glance.cmd.api:main', ['glance-api.conf'])
        self._start_uwsgi('placement', 'placement', '/usr/bin/placement-api',
                          {'OS_PLACEMENT_CONFIG_DIR': self.etc + '/placement'})
        if OCTAVIA:
            self._start_uwsgi('octavia-api', 'load-balancer', LIB + '/tb_octavia_wsgi.py', self._octavia_environment())

    def _octavia_environment(self):
        return {'TB_OCTAVIA_RUN': self.base + '/run', 'TB_OCTAVIA_CONF': self.etc + '/octavia.conf'}

    def start_workers(self):
        """Start what works behind the APIs, but nova-compute: its start asks Placement, so it comes last."""
        self._launch('nova-conductor', 'nova.cmd.conductor:main', ['nova.conf'])
        self._launch('nova-scheduler', 'nova.cmd.scheduler:main', ['nova.conf'])
        self._launch('cinder-scheduler', 'cinder.cmd.scheduler:main', ['cinder.conf'])
        self._launch('cinder-volume', 'cinder.cmd.volume:main', ['cinder.conf'])
        if OCTAVIA:
            self._launch('octavia-driver-agent', 'tb_octavia:driver_agent', ['octavia.conf'],
                         self._octavia_environment())

    def start_computes(self):
        if GUESTS:
            guests.start_libvirt(self)
            self._launch('nova-novncproxy', 'nova.cmd.novncproxy:main', ['nova.conf', 'nova-guests.conf'])
        for number, host in enumerate(self.hosts, 1):
            files = ['nova.conf', *(['nova-guests.conf'] if GUESTS else []), 'nova-%s.conf' % host]
            self._launch('nova-compute%d' % number, 'tb_nova:compute' + ('_with_guests' if GUESTS else ''), files,
                         {'TB_OVSDB': 'unix:%s/host%d/db.sock' % (self.ovn, number)})

    def start_foundation(self):
        """Configuration, network, schemas and the Keystone process: all that the rest stands on."""
        configure(self)
        start(self.base, 'memcached', ['memcached', '-u', 'root', '-l', self.ip, '-p', '11211', '-U', '0',
                                       '-m', '32', '-t', '1'])
        ovn.up(self)
        databases.create(self, Cloud)
        databases.map_cells(self)
        self.start_keystone()

    def stop(self):
        """End all processes; services before what they stand on, or they log and retry instead of ending."""
        all_names = names(self.base)
        foundation = [name for name in all_names if name.startswith(('ov', 'memcached', 'libvirt'))]
        stop(self.base, [name for name in all_names if name not in foundation], grace_s=6)
        guests.end_all(self)
        stop(self.base, foundation, grace_s=3)
        guests.leave_machine(self)

    def stop_apis(self):
        stop(self.base, API_PROCESSES, grace_s=3)

    # ---- readiness

    def dead(self):
        """The names of the processes that were started and ended by themselves."""
        return [name for name in names(self.base) if not running(self.base, name)]

    def explain(self):
        """Why this cloud may not come up, for an error message: the last words of what has died."""
        return '\n'.join('  %s %s is dead; its log ends:\n%s' % (self.name, name, last_words(self.base, name))
                         for name in self.dead()) or '  its processes run; see %s/log' % self.base

    def wait_keystone(self):
        wait_for(self.name + ' keystone', lambda: call('GET', self.url('identity', '/v3')), 120, explain=self.explain)

    def wait_apis(self):
        """Wait until each API serves an authenticated read."""
        self.wait_keystone()
        wait_for(self.name + ' login', self.admin.login, 60, explain=self.explain)

        def wait(service):
            wait_for('%s %s API' % (self.name, service), lambda: self.admin.get(service, WARMING.get(service, '/')), 150,
                     explain=self.explain)
        with ThreadPoolExecutor(len(PORTS)) as pool:
            list(pool.map(wait, [service for service in PORTS if service != 'identity']))

    def missing(self):
        """What this cloud lacks to be ready, one phrase each; empty when it can boot a server with a volume."""
        lacks = []
        services = self.admin.get('compute', '/v2.1/os-services', 'services')
        if sum(s['binary'] == 'nova-compute' and s['state'] == 'up' for s in services) < len(self.hosts):
            lacks.append('nova-compute up')
        agents = self.admin.get('network', '/v2.0/agents', 'agents')
        if sum(a['alive'] and a['agent_type'].startswith('OVN Controller') for a in agents) < len(self.hosts):
            lacks.append('OVN controller alive')
        services = self.admin.get('volume', '/v3/{project_id}/os-services', 'services')
        if not {'cinder-volume', 'cinder-scheduler'} <= {s['binary'] for s in services if s['state'] == 'up'}:
            lacks.append('cinder-volume and cinder-scheduler up')
        if len(self.admin.get('placement', '/resource_providers', 'resource_providers')) < len(self.hosts):
            lacks.append('resource provider in Placement')
        return lacks

    def wait_ready(self):
        """Wait until nothing is missing; starts again what died on the way (a service may come before its database)."""
        lacks = ['everything']

        def ready():
            self.start_apis()
            self.start_workers()
            self.start_computes()
            lacks[:] = self.missing()
            return not lacks
        wait_for(self.name, ready, 240, 0.5,
                 explain=lambda: '  lacks: %s\n%s' % ('; '.join(lacks), self.explain()))


def existing():
    """The clouds that have been made, up or not."""
    return [Cloud(i) for i in range(1, CHILDREN_MAX + 1) if os.path.isdir(os.path.join(HOME, 'child%d' % i))]


def named(wanted):
    """The existing clouds of these names, or all when none is named; Failure for a name that is none of them."""
    clouds = existing()
    unknown = set(wanted) - {cloud.name for cloud in clouds}
    if unknown:
        raise Failure('there is no %s; existing: %s' % (
            ', '.join(sorted(unknown)), ', '.join(cloud.name for cloud in clouds) or 'none'))
    return [cloud for cloud in clouds if not wanted or cloud.name in wanted]
