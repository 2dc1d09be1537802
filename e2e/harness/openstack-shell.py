"""The real `openstack` client without its start-up: its code is loaded once, and every command runs in a fork of this
process, so that nothing of one command (tokens, options, environment) is left for the next.

Reads lines of JSON {"id", "args", "env", "input"} and writes lines of JSON {"id", "status", "stdout", "stderr"} when a
command ends; several may run at once."""
import gc
import importlib
import json
import os
import sys
import tempfile
import threading

sys.argv[0] = 'openstack'  # the client takes its name from it when it is loaded
from openstackclient.shell import OpenStackShell  # noqa: E402

# What commands import when they run: loaded here once instead.
for module in ('novaclient.client', 'novaclient.v2.client', 'cinderclient.client', 'cinderclient.v3.client',
               'glanceclient.v2.client', 'keystoneclient.v3.client', 'openstack.connection', 'openstack.compute.v2._proxy',
               'openstack.network.v2._proxy', 'openstack.image.v2._proxy', 'openstack.block_storage.v3._proxy',
               'openstackclient.compute.v2.server', 'openstackclient.network.v2.network',
               'openstackclient.network.v2.port', 'openstackclient.image.v2.image',
               'openstackclient.volume.v3.volume', 'keystoneauth1.identity', 'keystoneauth1.loading'):
    try:
        importlib.import_module(module)
    except ImportError:
        pass  # only a head start: another release's client loads its own modules when it runs
gc.freeze()

output_lock = threading.Lock()
fork_lock = threading.Lock()


def command(request, files):
    """In the fork: become the client. Gives the exit status."""
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, 'w'), open(2, 'w')
    os.environ.update(request.get('env') or {})
    sys.argv = ['openstack', *request['args']]
    try:
        status = OpenStackShell().run(request['args'])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # as the interpreter would
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


def run(request):
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source.write((request.get('input') or '').encode())
        source.seek(0)
        with fork_lock:
            child = os.fork()
        if child == 0:
            status = 70
            try:
                status = command(request, (source, out, err))
            finally:
                os._exit(status & 0xff)
        _, wait_status = os.waitpid(child, 0)
        answer = {'id': request['id'], 'status': os.waitstatus_to_exitcode(wait_status)}
        for name, file in (('stdout', out), ('stderr', err)):
            file.seek(0)
            answer[name] = file.read().decode('utf-8', 'replace')
    with output_lock:
        print(json.dumps(answer), flush=True)


for line in sys.stdin:
    threading.Thread(target=run, args=(json.loads(line),)).start()
