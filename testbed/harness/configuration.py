"""The configuration files of one cloud, made from templates/."""
import base64
import json
import os
from string import Template

from . import guests
from .processes import write
from .settings import DATABASES, GUESTS, OCTAVIA, TEMPLATES


def _render(template, values, **more):
    with open(os.path.join(TEMPLATES, template)) as file:
        return Template(file.read()).substitute(values, **more)


def _keys(folder):
    """The two Fernet keys that Keystone would make itself, but only as its own user."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name in ('0', '1'):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            write(path, base64.urlsafe_b64encode(os.urandom(32)).decode(), 0o600)


def configure(cloud):
    """Write every file that the services of this cloud read. The same input gives the same files: safe on a
    running cloud, and a change of a template reaches an old cloud with its next start."""
    for folder in ('etc', 'log', 'run', 'images', 'staging', 'volumes', 'nova', 'neutron', 'ovn', 'cinder/coordination',
                   'lock/glance', 'lock/nova', 'lock/neutron', 'lock/cinder', 'lock/octavia'):
        os.makedirs(os.path.join(cloud.base, folder), exist_ok=True)
    write(cloud.secrets_file, json.dumps(cloud.secrets), 0o600)
    _keys(cloud.etc + '/fernet-keys')
    _keys(cloud.etc + '/credential-keys')

    values = {'name': cloud.name, 'ip': cloud.ip, 'base': cloud.base, 'etc': cloud.etc, 'ovn': cloud.ovn,
              'message_queue': cloud.message_queue, 'memcached': cloud.memcached,
              'identity_url': cloud.url('identity', '/v3'), 'service_password': cloud.secrets['svc'],
              **{'database_' + name: cloud.database_url(name) for name in DATABASES}}

    def service_user(section, user, *options):
        """How one service logs in to call another."""
        lines = ''.join(option + '\n' for option in options)
        return _render('service_user.section', values, section=section, user=user) + lines

    def authtoken(user):
        return _render('keystone_authtoken.section', values, user=user)

    def common(user):
        return authtoken(user) + _render('common.section', values, user=user)

    files = {
        'keystone.conf': '',
        'glance-api.conf': common('glance'),
        'placement/placement.conf': authtoken('placement'),
        'nova.conf': service_user('placement', 'placement') + service_user('neutron', 'neutron') +
        service_user('cinder', 'cinder', 'os_region_name = RegionOne', 'catalog_info = volumev3:cinderv3:publicURL') +
        service_user('service_user', 'nova', 'send_service_user_token = true') + common('nova'),
        'neutron.conf': service_user('nova', 'nova') + service_user('placement', 'placement') + common('neutron'),
        'ml2_conf.ini': '',
        'cinder.conf': service_user('nova', 'nova', 'interface = public') +
        service_user('service_user', 'cinder', 'send_service_user_token = true') + common('cinder'),
    }
    if OCTAVIA:
        files['octavia.conf'] = service_user('service_auth', 'octavia') + service_user('neutron', 'octavia') + \
            common('octavia')
    for name, sections in files.items():
        write(os.path.join(cloud.etc, name), _render(os.path.basename(name), values) + sections)
    if GUESTS:
        write(cloud.etc + '/nova-guests.conf', _render('nova-guests.conf', values, **guests.values(cloud)))
    for host in cloud.hosts:
        write('%s/nova-%s.conf' % (cloud.etc, host), '[DEFAULT]\nhost = %s\n' % host)
