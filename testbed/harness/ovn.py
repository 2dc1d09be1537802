"""The network of a cloud: OVN's two databases and northd, and one Open vSwitch with ovn-controller per host.
Every datapath and device is OVS's "dummy" kind, in memory alone: the kernel's network is never touched. With guests it
is OVS's user-space datapath instead, whose devices are in a network namespace of the cloud's own (guests.py)."""
import os
import subprocess
import uuid

from . import guests
from .processes import run, start, wait_for
from .settings import GUESTS, NUMBER

BRIDGE_MAPPINGS = '"physnet1:br-physnet1,public:br-ex"'
DATAPATH = 'netdev' if GUESTS else 'dummy'


def _answers(socket):
    return subprocess.run(['ovsdb-client', 'list-dbs', 'unix:' + socket], capture_output=True).returncode == 0


def _ovsdb_server(base, name, folder, database, socket, control, schema):
    """Start one ovsdb-server over one database file, made from its schema when it is not there."""
    path = '%s/%s' % (folder, database)
    if not os.path.exists(path):
        # aside and renamed: a file that was half made when we were killed would be refused for ever
        run(['rm', '-f', path + '.new', path + '.new.~lock~'])
        run(['ovsdb-tool', 'create', path + '.new', schema])
        os.rename(path + '.new', path)
    start(base, name, ['ovsdb-server', '--no-chdir', '-vconsole:warn', '-vsyslog:off',
                       '--remote=punix:%s/%s' % (folder, socket), '--unixctl=%s/%s' % (folder, control), path],
          {'OVN_RUNDIR': folder, 'OVS_RUNDIR': folder})


def up(cloud):
    """Start all of it and wait until each host is a chassis; idempotent."""
    base, folder = cloud.base, cloud.ovn
    # two servers on purpose: with both databases in one, Neutron's client of the northbound database sees
    # the southbound one's row too, registers its tables again and hangs for ever
    for name in ('nb', 'sb'):
        _ovsdb_server(base, 'ovn-' + name, folder, name + '.db', name + '.sock', name + '.ctl',
                      '/usr/share/ovn/ovn-%s.ovsschema' % name)
    for name in ('nb', 'sb'):
        socket = '%s/%s.sock' % (folder, name)
        wait_for(socket, lambda: _answers(socket), 20)
        run(['ovn-%sctl' % name, '--no-leader-only', '--db=unix:' + socket, 'init'])
    start(base, 'ovn-northd', ['ovn-northd', '-vconsole:warn', '-vsyslog:off', '--ovnnb-db=unix:%s/nb.sock' % folder,
                               '--ovnsb-db=unix:%s/sb.sock' % folder, '--unixctl=%s/ovn-northd.ctl' % folder],
          {'OVN_RUNDIR': folder, 'OVS_RUNDIR': folder})
    for number, host in enumerate(cloud.hosts, 1):
        _up_host(cloud, number, host)


def _up_host(cloud, number, host):
    base = cloud.base
    folder = '%s/host%d' % (cloud.ovn, number)
    os.makedirs(folder, exist_ok=True)
    environment = {'OVN_RUNDIR': folder, 'OVS_RUNDIR': folder}
    _ovsdb_server(base, 'ovs-ovsdb%d' % number, folder, 'conf.db', 'db.sock', 'ovsdb.ctl',
                  '/usr/share/openvswitch/vswitch.ovsschema')
    socket = folder + '/db.sock'
    wait_for(socket, lambda: _answers(socket), 20)
    system_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, host))
    # never contacted (there is no kernel tunnel), but it must differ between chassis
    tunnel_ip = cloud.ip if number == 1 else '127.0.%d.%d' % (100 + 10 * number + NUMBER, 10 + cloud.number)
    command = ['ovs-vsctl', '--no-wait', '--db=unix:' + socket, '--', 'init', '--', 'set', 'Open_vSwitch', '.',
               'external_ids:system-id=' + system_id, 'external_ids:hostname=' + host,
               'external_ids:ovn-remote="unix:%s/sb.sock"' % cloud.ovn,
               'external_ids:ovn-encap-type=geneve', 'external_ids:ovn-encap-ip=' + tunnel_ip,
               'external_ids:ovn-bridge-datapath-type=' + DATAPATH,
               'external_ids:ovn-bridge-mappings=' + BRIDGE_MAPPINGS,
               'external_ids:ovn-cms-options=enable-chassis-as-gw']
    for bridge in ('br-int', 'br-physnet1', 'br-ex'):
        command += ['--', '--may-exist', 'add-br', bridge, '--', 'set', 'Bridge', bridge, 'datapath_type=' + DATAPATH]
    run(command + ['--', 'set', 'Bridge', 'br-int', 'fail_mode=secure'])
    if GUESTS:
        guests.join_machine(cloud)
    start(base, 'ovs-vswitchd%d' % number,
          [*(guests.inside(cloud) if GUESTS else []), 'ovs-vswitchd', '--no-chdir',
           *([] if GUESTS else ['--enable-dummy=override']), '--disable-system', '-vconsole:warn',
           '-vsyslog:off', '--unixctl=%s/vswitchd.ctl' % folder, 'unix:' + socket], environment)
    start(base, 'ovn-controller%d' % number,
          ['ovn-controller', '--no-chdir', '-vconsole:warn', '-vsyslog:off', 'unix:' + socket], environment)
    # OVN 22.09 and later keep these in Chassis.other_config; Neutron 21 (Zed) still reads external_ids
    southbound = ['ovn-sbctl', '--no-leader-only', '--timeout=10', '--db=unix:%s/sb.sock' % cloud.ovn]
    wait_for(host + ' chassis',
             lambda: system_id in run(southbound + ['--bare', '--columns=name', 'list', 'Chassis']), 30)
    run(southbound + ['set', 'Chassis', system_id, 'external_ids:ovn-cms-options=enable-chassis-as-gw',
                      'external_ids:ovn-bridge-mappings=' + BRIDGE_MAPPINGS])
    if GUESTS:
        guests.be_gateway(cloud)
