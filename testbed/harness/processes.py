"""Start, find and end the processes of a testbed; each has run/NAME.pid and log/NAME.log under its folder."""
import os
import signal
import socket
import subprocess
import time

from .settings import ENVIRONMENT, Failure


def run(command, environment=None, text_in=None):
    """Run a command to its end; gives what it printed, raises Failure with its last words if it fails."""
    result = subprocess.run(command, env={**ENVIRONMENT, **(environment or {})}, text=True, input=text_in,
                            stdin=None if text_in else subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        raise Failure('%s failed (%d):\n%s' % (command[0], result.returncode, result.stdout[-4000:]))
    return result.stdout


def write(path, text, mode=0o640):
    """Write a file whole or not at all: services and people read these while they are written."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + '.new'
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, 'w') as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, path)


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None when the process is gone."""
    try:
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rsplit(')', 1)[1].split()
    except OSError:
        return None


def _started(pid):
    fields = _stat(pid)
    return None if fields is None or fields[0] == 'Z' else fields[19]


def groups():
    """Every live process of the machine: process group -> its process ids (without the zombies)."""
    found = {}
    for entry in os.listdir('/proc'):
        fields = _stat(int(entry)) if entry.isdigit() else None
        if fields and fields[0] != 'Z':
            found.setdefault(int(fields[2]), []).append(int(entry))
    return found


def _pid_file(base, name):
    return os.path.join(base, 'run', name + '.pid')


def _forget(base, name):
    try:
        os.unlink(_pid_file(base, name))
    except FileNotFoundError:
        pass


def names(base):
    """The processes that were started under this folder and not stopped since."""
    folder = os.path.join(base, 'run')
    return sorted(f[:-4] for f in os.listdir(folder) if f.endswith('.pid')) if os.path.isdir(folder) else []


def running(base, name):
    """The pid of a started process that is still the same one, or None.
    The start time is kept beside the pid, so that a number used again is never mistaken for ours."""
    try:
        with open(_pid_file(base, name)) as file:
            pid, started = file.read().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == started else None


def start(base, name, command, environment=None):
    """Start a process unless it runs. It leads its own session, so its pid is its group: stop() ends exactly that."""
    if running(base, name):
        return
    os.makedirs(os.path.join(base, 'run'), exist_ok=True)
    os.makedirs(os.path.join(base, 'log'), exist_ok=True)
    with open(os.path.join(base, 'log', name + '.log'), 'ab') as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd='/',
                                   env={**ENVIRONMENT, **(environment or {})}, start_new_session=True)
    write(_pid_file(base, name), '%d %s' % (process.pid, _started(process.pid)))


def _signal(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def stop(base, wanted, grace_s):
    """Ask the named processes to end, and kill what has not after grace_s seconds.
    A group counts as ended when its last member is gone: RabbitMQ's shell goes long before its Erlang machine."""
    live = {}
    for name in wanted:
        pid = running(base, name)
        if pid:
            _signal(pid, signal.SIGTERM)
            live[name] = pid
        else:
            _forget(base, name)
    end = time.monotonic() + grace_s
    killed = False
    while live:
        for pid in live.values():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        members = groups()
        for name, pid in list(live.items()):
            if pid not in members:
                del live[name]
                _forget(base, name)
        if live and time.monotonic() > end:
            if killed:
                raise Failure('cannot kill %s' % ', '.join(sorted(live)))
            for pid in live.values():
                _signal(pid, signal.SIGKILL)
            killed, end = True, time.monotonic() + 10
        time.sleep(0.05)


def last_words(base, name, lines=3):
    """The end of a process's log, for an error message."""
    try:
        with open(os.path.join(base, 'log', name + '.log'), errors='replace') as file:
            return ''.join('    ' + line for line in file.readlines()[-lines:])
    except OSError:
        return ''


def wait_for(what, check, timeout_s, step_s=0.2, explain=None):
    """Call check until it gives something true, and give that; its exceptions count as "not yet".
    Raises Failure after timeout_s seconds, with what explain() has to add."""
    end = time.monotonic() + timeout_s
    while True:
        last = None
        try:
            answer = check()
            if answer:
                return answer
        except Exception as error:  # whatever it is, it is only worth telling when time is up
            last = error
        if time.monotonic() > end:
            raise Failure('gave up waiting for %s after %d s%s%s' % (
                what, timeout_s, ' (%s)' % last if last else '', '\n' + explain() if explain else ''))
        time.sleep(step_s)


def listens(host, port):
    with socket.create_connection((host, port), 1):
        return True
