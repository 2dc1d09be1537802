"""What the command line offers."""
import fcntl
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import guests, shared
from .cloud import Cloud, existing, named
from .leftovers import leftovers as leftovers_of
from .processes import groups, names, running, stop, write
from .rest import call
from .seed import seed, seed_identity
from .settings import CHILDREN_MAX, CLOUDS_FILE, Failure, GUESTS, HOME, PORTS, SHARED, log

CLOUD_ENTRY = '''\
  %s:
    auth:
      auth_url: %s
      username: admin
      password: %s
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    identity_api_version: 3
    compute_api_version: "2.90"
    volume_api_version: "3.70"
    interface: public
'''


@contextmanager
def _alone():
    """Only one command changes a testbed at a time; another one waits."""
    os.makedirs(HOME, exist_ok=True)
    with open(os.path.join(HOME, '.lock'), 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log('waiting for another testbed command to end')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_clouds_file():
    write(CLOUDS_FILE, 'clouds:\n' + ''.join(
        CLOUD_ENTRY % (cloud.name, cloud.url('identity', '/v3'), cloud.secrets['admin']) for cloud in existing()), 0o600)


def up(count):
    """Bring child1 to child<count> up, whatever state they are in; other clouds stay as they are."""
    if not 1 <= count <= CHILDREN_MAX:
        raise Failure('up takes a number of clouds from 1 to %d' % CHILDREN_MAX)
    for tool in ('mariadbd', 'memcached', 'ovsdb-server', 'uwsgi', 'nova-manage', 'neutron-db-manage',
                 *(guests.TOOLS if GUESTS else ())):
        if not shutil.which(tool, path='/usr/sbin:/usr/bin:/sbin:/bin'):
            raise Failure('%s is not installed: run the install command first' % tool)
    with _alone():
        shared.up()
        log('MariaDB up')
        clouds = [Cloud(number) for number in range(1, count + 1)]
        for cloud in clouds:
            cloud.start_foundation()
            log(cloud.name, 'network, databases and the Keystone process up')
        shared.wait_rabbitmq()
        log('RabbitMQ up')
        # one cloud at a time from here: two at once only get in each other's way on two cores
        for cloud in clouds:
            cloud.wait_keystone()
            seed_identity(cloud, PORTS)
            cloud.start_apis()
            cloud.start_workers()
            cloud.wait_apis()
            cloud.start_computes()
            log(cloud.name, 'all APIs answer')
        for cloud in clouds:
            cloud.wait_ready()
            seed(cloud)
            log(cloud.name, 'ready')
        _write_clouds_file()
    log('up: %d cloud(s); clouds file %s' % (count, CLOUDS_FILE))


def down(wanted):
    """Stop the named clouds, or all and what they share; data is kept."""
    with _alone():
        _down(wanted)
    log('down')


def _down(wanted):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Cloud.stop, named(wanted)))
    if not wanted:
        stop(SHARED, ['mariadb'], grace_s=30)
        stop(SHARED, ['rabbitmq'], grace_s=20)
        stop(SHARED, names(SHARED), grace_s=5)


def reset():
    """Stop all and drop the data; the schema template stays, since it holds none."""
    with _alone():
        _down([])
        for cloud in existing():
            shutil.rmtree(cloud.base)
        shutil.rmtree(SHARED, ignore_errors=True)
        if os.path.exists(CLOUDS_FILE):
            os.unlink(CLOUDS_FILE)
    log('reset: data dropped')


def api_down(wanted):
    with _alone():
        for cloud in _of_one(wanted):
            begun = time.monotonic()
            cloud.stop_apis()
            log('%s APIs down in %.1f s' % (cloud.name, time.monotonic() - begun))


def api_up(wanted):
    with _alone():
        for cloud in _of_one(wanted):
            begun = time.monotonic()
            cloud.start_apis()
            cloud.wait_apis()
            log('%s APIs up in %.1f s' % (cloud.name, time.monotonic() - begun))


def _of_one(wanted):
    if not wanted:
        raise Failure('name the clouds, for example child1')
    return named(wanted)


def status():
    """Print every process, API and cloud; gives the exit status, 1 when anything is amiss. Starts nothing."""
    bad = 0
    clouds = existing()
    for base, label in [(SHARED, 'shared')] + [(cloud.base, cloud.name) for cloud in clouds]:
        for name in names(base):
            pid = running(base, name)
            bad += not pid
            print('%-8s %-22s %s' % (label, name, 'pid %d' % pid if pid else 'DEAD'))
    for cloud in clouds:
        answering = 0
        for service in PORTS:
            try:
                call('GET', cloud.url(service, '/'), timeout_s=15)
                answering += 1
            except (OSError, RuntimeError) as error:
                bad += 1
                print('%-8s %-22s NO ANSWER: %s' % (cloud.name, service, error))
        if answering == len(PORTS):
            try:
                lacks = cloud.missing()
            except (OSError, RuntimeError) as error:
                lacks = [str(error)]
            bad += bool(lacks)
            print('%-8s %s' % (cloud.name, 'NOT READY, lacks: ' + '; '.join(lacks) if lacks else 'ready'))
    if not clouds:
        print('no clouds in %s' % HOME)
    return 1 if bad or not clouds else 0


def leftovers(wanted):
    """Print as JSON, per cloud, what it holds beyond its seed."""
    clouds = _of_one(wanted)
    with ThreadPoolExecutor(len(clouds)) as pool:
        found = dict(zip([cloud.name for cloud in clouds], pool.map(leftovers_of, clouds)))
    print(json.dumps(found, indent=2))


def memory():
    """Print the resident and the proportional size of every process with its children."""
    members = groups()

    def sizes_kib(pid):
        try:
            with open('/proc/%d/smaps_rollup' % pid) as file:
                text = file.read()
            return [int(re.search(r'^%s:\s+(\d+)' % kind, text, re.M).group(1)) for kind in ('Rss', 'Pss')]
        except (OSError, AttributeError):  # gone meanwhile, or a kernel thread without memory
            return [0, 0]

    for base, label in [(SHARED, 'shared')] + [(cloud.base, cloud.name) for cloud in existing()]:
        total = [0, 0]
        for name in names(base):
            pids = members.get(running(base, name), [])
            sizes = [sum(column) // 1024 for column in zip([0, 0], *map(sizes_kib, pids))]
            print('%-8s %-22s processes=%d rss=%4d MiB pss=%4d MiB' % (label, name, len(pids), *sizes))
            total = [sum(pair) for pair in zip(total, sizes)]
        print('%-8s TOTAL rss=%d MiB pss=%d MiB' % (label, *total))
