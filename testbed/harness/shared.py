"""What all clouds of a testbed share: one MariaDB (a schema set each) and one RabbitMQ (a virtual host each)."""
import glob
import json
import os
import secrets

from .processes import last_words, listens, run, start, wait_for, write
from .settings import (CHILDREN_MAX, EPMD_PORT, Failure, HOME, MARIADB_SOCKET, RABBIT_DISTRIBUTION_PORT, RABBIT_PORT,
                       SHARED)


def sql(statements, database=None):
    """Run SQL as MariaDB's root; gives the rows, tab-separated."""
    return run(['mariadb', '--no-defaults', '-uroot', '-S', MARIADB_SOCKET, '-N', '-B'] + ([database] if database else []),
               text_in=statements)


def _start_mariadb():
    data = os.path.join(SHARED, 'mysql')
    if not os.path.isdir(os.path.join(data, 'mysql')):
        run(['mariadb-install-db', '--no-defaults', '--user=root', '--datadir=' + data,
             '--auth-root-authentication-method=normal', '--skip-test-db'])
    # Nothing here has to survive the machine: every promise of durability is given away for speed.
    start(SHARED, 'mariadb', [
        'mariadbd', '--no-defaults', '--user=root', '--datadir=' + data, '--socket=' + MARIADB_SOCKET,
        '--skip-networking', '--skip-name-resolve', '--skip-log-bin', '--max-connections=3000',
        '--innodb-buffer-pool-size=512M', '--innodb-flush-log-at-trx-commit=0',
        '--innodb-flush-method=nosync', '--innodb-doublewrite=0', '--performance-schema=0',
        '--character-set-server=utf8mb3', '--collation-server=utf8mb3_general_ci',
        '--pid-file=' + os.path.join(SHARED, 'mysqld.pid'), '--tmpdir=/tmp'],
        environment={'LD_PRELOAD': 'libeatmydata.so'})


def _rabbit_environment(folder):
    return {'HOME': folder, 'RABBITMQ_NODENAME': 'tb@localhost', 'RABBITMQ_CONFIG_FILE': folder + '/rabbitmq.conf',
            'RABBITMQ_MNESIA_BASE': folder + '/mnesia', 'RABBITMQ_LOG_BASE': folder + '/log', 'RABBITMQ_LOGS': '-',
            'RABBITMQ_ENABLED_PLUGINS_FILE': folder + '/enabled_plugins', 'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_GENERATED_CONFIG_DIR': folder + '/conf', 'RABBITMQ_PID_FILE': folder + '/pid',
            'RABBITMQ_DIST_PORT': str(RABBIT_DISTRIBUTION_PORT), 'ERL_EPMD_PORT': str(EPMD_PORT),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            # without these the Erlang schedulers spin on cores that the clouds need
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none'}


def _start_rabbitmq():
    folder = os.path.join(SHARED, 'rabbit')
    hosts = ['child%d' % i for i in range(1, CHILDREN_MAX + 1)]
    write(folder + '/definitions.json', json.dumps({
        'users': [{'name': 'tb', 'password': 'tb', 'tags': 'administrator'}],
        'vhosts': [{'name': host} for host in hosts],
        'permissions': [{'user': 'tb', 'vhost': host, 'configure': '.*', 'write': '.*', 'read': '.*'}
                        for host in hosts]}))
    write(folder + '/rabbitmq.conf',
          'listeners.tcp.1 = 127.0.0.1:%d\nload_definitions = %s/definitions.json\n'
          'log.console = true\nlog.console.level = warning\nlog.file = false\n'
          'vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n' % (RABBIT_PORT, folder))
    write(folder + '/enabled_plugins', '[].\n')
    if not os.path.exists(folder + '/.erlang.cookie'):
        write(folder + '/.erlang.cookie', secrets.token_hex(16), 0o400)
    environment = _rabbit_environment(folder)
    start(SHARED, 'epmd', ['epmd', '-address', '127.0.0.1', '-port', str(EPMD_PORT)], environment)
    wait_for('epmd', lambda: listens('127.0.0.1', EPMD_PORT), 20, explain=lambda: last_words(SHARED, 'epmd'))
    # Debian's wrapper in /usr/sbin insists on its own user and folders; the server behind it does not.
    servers = glob.glob('/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server') + \
        glob.glob('/usr/lib/rabbitmq/bin/rabbitmq-server')
    if not servers:
        raise Failure('RabbitMQ is not installed: run the install command first')
    start(SHARED, 'rabbitmq', [servers[0]], environment)


def up():
    """Start MariaDB and RabbitMQ; gives back when MariaDB answers (RabbitMQ takes longer: wait_rabbitmq)."""
    os.makedirs(SHARED, exist_ok=True)
    os.chmod(HOME, 0o755)
    _start_mariadb()
    _start_rabbitmq()
    wait_for('MariaDB', lambda: 'ok' in sql("select 'ok'"), 60, explain=lambda: last_words(SHARED, 'mariadb'))


def wait_rabbitmq():
    wait_for('RabbitMQ', lambda: listens('127.0.0.1', RABBIT_PORT), 90, explain=lambda: last_words(SHARED, 'rabbitmq'))
