"""The database schemas of a cloud. Migrating them takes minutes, so it is done once and kept as a template."""
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from .configuration import configure
from .processes import run, write
from .settings import DATABASES, Failure, HOME, MARIADB_SOCKET, OCTAVIA, log
from .shared import sql

# The same in every cloud: each has databases of its own.
CELL1 = 'ce110000-0000-4000-8000-000000000001'


def _migrate(cloud):
    etc = cloud.etc
    neutron = ['neutron-db-manage', '--config-file', etc + '/neutron.conf', '--config-file', etc + '/ml2_conf.ini']
    nova = ['nova-manage', '--config-file', etc + '/nova.conf']
    glance = ['glance-manage', '--config-file', etc + '/glance-api.conf']
    in_sequence = [
        [neutron + ['upgrade', 'heads']],
        [nova + ['api_db', 'sync'],
         nova + ['cell_v2', 'map_cell0', '--database_connection', cloud.database_url('nova_cell0')],
         nova + ['db', 'sync']],
        [['cinder-manage', '--config-file', etc + '/cinder.conf', 'db', 'sync'],
         ['keystone-manage', '--config-file', etc + '/keystone.conf', 'db_sync']],
        [glance + ['db_sync'], glance + ['db_load_metadefs', '/usr/share/glance-common/metadefs']],
        [['placement-manage', '--config-file', etc + '/placement/placement.conf', 'db', 'sync']],
    ]
    if OCTAVIA:
        in_sequence.append([['octavia-db-manage', '--config-file', etc + '/octavia.conf', 'upgrade', 'head']])

    def sequence(commands):
        for command in commands:
            run(command, {'OS_PLACEMENT_CONFIG_DIR': etc + '/placement'})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sequence, in_sequence))


def _template(make_cloud):
    """The SQL of empty schemas with @@NAME@@ for the cloud's name; made by the first cloud that needs it."""
    path = os.path.join(HOME, 'template-%s.sql' % ('oct' if OCTAVIA else 'base'))
    if not os.path.exists(path):
        log('schema template: migrating from scratch (once, about a minute)')
        cloud = make_cloud(0, 'tpl')
        shutil.rmtree(cloud.base, ignore_errors=True)
        sql(''.join('drop database if exists tpl_%s; create database tpl_%s;' % (d, d) for d in DATABASES))
        configure(cloud)
        _migrate(cloud)
        parts = []
        for name in DATABASES:
            dump = run(['mariadb-dump', '--no-defaults', '-uroot', '-S', MARIADB_SOCKET, '--skip-comments',
                        '--skip-add-locks', '--skip-tz-utc', 'tpl_' + name])
            parts += ['USE `@@NAME@@_%s`;' % name, dump.replace('tpl_', '@@NAME@@_')]
        write(path, '\n'.join(parts))
        sql(''.join('drop database tpl_%s;' % name for name in DATABASES))
        shutil.rmtree(cloud.base)
        log('schema template: written')
    with open(path) as file:
        return file.read()


def create(cloud, make_cloud):
    """Give this cloud its schemas and first administrator, unless it has them.
    The mark is written last: a creation that was killed half way begins anew."""
    mark = os.path.join(cloud.base, 'databases.done')
    if os.path.exists(mark):
        if OCTAVIA and not sql("show databases like '%s\\_octavia'" % cloud.name):
            raise Failure('%s was made without Octavia: reset first, or leave TB_OCTAVIA out' % cloud.name)
        return
    template = _template(make_cloud)
    sql(''.join('drop database if exists %s_%s; create database %s_%s;' % (cloud.name, d, cloud.name, d)
                for d in DATABASES))
    sql('set unique_checks=0; set foreign_key_checks=0;\n' + template.replace('@@NAME@@', cloud.name))
    identity = cloud.url('identity', '/v3')
    run(['keystone-manage', '--config-file', cloud.etc + '/keystone.conf', 'bootstrap',
         '--bootstrap-password', cloud.secrets['admin'], '--bootstrap-username', 'admin',
         '--bootstrap-project-name', 'admin', '--bootstrap-role-name', 'admin',
         '--bootstrap-service-name', 'keystone', '--bootstrap-region-id', 'RegionOne',
         '--bootstrap-admin-url', identity, '--bootstrap-public-url', identity, '--bootstrap-internal-url', identity])
    write(mark, time.strftime('%FT%TZ', time.gmtime()))


def map_cells(cloud):
    """Tell Nova where its cells and hosts are. Said anew at every `up`, before a service of Nova runs: the addresses
    come from this code and its environment, and may be others than when the schemas were made.
    Hosts are mapped ahead of their first report, which saves a discovery that would have to run again and again until
    they come."""
    nova_api = cloud.name + '_nova_api'
    cells = [('00000000-0000-0000-0000-000000000000', 'cell0', 'none:///', cloud.database_url('nova_cell0')),
             (CELL1, 'cell1', cloud.message_queue, cloud.database_url('nova'))]
    # cell0 comes with the template and points to the template's database; a mapping keeps its row, which instances
    # and hosts refer to
    for identifier, name, transport, database in cells:
        sql("""
          update cell_mappings set transport_url='%(transport)s', database_connection='%(database)s', name='%(name)s'
            where name='%(name)s' or uuid='%(uuid)s';
          insert into cell_mappings (created_at, uuid, name, transport_url, database_connection, disabled)
            select now(), '%(uuid)s', '%(name)s', '%(transport)s', '%(database)s', 0
            where not exists (select 1 from cell_mappings where name='%(name)s');
          """ % {'uuid': identifier, 'name': name, 'transport': transport, 'database': database}, nova_api)
    for number in (1, 2, 3):
        sql("""
          insert into host_mappings (created_at, cell_id, host)
            select now(), id, '%(host)s' from cell_mappings where name='cell1'
            and not exists (select 1 from host_mappings where host='%(host)s');
          """ % {'host': '%s-node%d' % (cloud.name, number)}, nova_api)
