"""What every cloud holds from the beginning. Each step looks before it makes: a seed that was killed half way
is completed by the next one."""
from . import guests
from .settings import GUESTS

PROJECTS = ['admin', 'service']
IMAGES = ['cirros', 'cirros-alt']
FLAVORS = {'1': ('m1.tiny', 512, 1, 1), '2': ('m1.small', 2048, 1, 20),
           '42': ('m1.nano', 128, 1, 1), '84': ('m1.micro', 192, 1, 1)}  # id: name, RAM in MiB, vCPUs, disk in GiB
NETWORKS = ['public']
SUBNETS = ['public-subnet']
SUBNET_POOLS = ['shared-default']
VOLUME_TYPES = ['__DEFAULT__', 'multiattach']
# user and service name: type, path behind the port, the service's name in the catalog
SERVICES = {'glance': ('image', '', 'glance'), 'placement': ('placement', '', 'placement'),
            'nova': ('compute', '/v2.1', 'nova'), 'neutron': ('network', '', 'neutron'),
            'cinder': ('volumev3', '/v3/%(project_id)s', 'cinderv3'), 'octavia': ('load-balancer', '', 'octavia')}
USERS = ['admin', *SERVICES]
_PORT_NAMES = {'volumev3': 'volume'}


def seed_identity(cloud, ports):
    """The services' users, roles and catalog; ports says which services this testbed runs."""
    admin = cloud.admin.login()

    def have(kind, plural, name, **more):
        for item in admin.get('identity', '/v3/%s?name=%s' % (plural, name), plural):
            return item['id']
        return admin.post('identity', '/v3/' + plural, kind, {'name': name, **more})['id']

    project = have('project', 'projects', 'service', domain_id='default')
    roles = {name: have('role', 'roles', name)
             for name in ('admin', 'service', 'load-balancer_admin', 'load-balancer_member', 'creator')}
    endpoints = {(e['service_id'], e['interface']) for e in admin.get('identity', '/v3/endpoints', 'endpoints')}
    for user_name, (service_type, path, service_name) in SERVICES.items():
        port_name = _PORT_NAMES.get(service_type, service_type)
        if port_name not in ports:
            continue
        user = have('user', 'users', user_name, domain_id='default', password=cloud.secrets['svc'])
        for role in ('admin', 'service'):
            admin.request('PUT', 'identity', '/v3/projects/%s/users/%s/roles/%s' % (project, user, roles[role]))
        service = have('service', 'services', service_name, type=service_type)
        for interface in ('public', 'internal', 'admin'):
            if (service, interface) not in endpoints:
                admin.post('identity', '/v3/endpoints', 'endpoint', {
                    'service_id': service, 'interface': interface, 'region_id': 'RegionOne',
                    'url': cloud.url(port_name, path)})


def seed(cloud):
    """Images, flavors, the external network and the volume types."""
    admin = cloud.admin
    images = {image['name']: image for image in admin.everything('image', '/v2/images?limit=100', 'images')}
    for name in IMAGES:
        image = images.get(name) or admin.post('image', '/v2/images', None, {
            'name': name, 'visibility': 'public', 'disk_format': 'qcow2' if GUESTS else 'raw',
            'container_format': 'bare', 'min_disk': 0, 'min_ram': 0})
        if image['status'] == 'queued':
            admin.request('PUT', 'image', '/v2/images/%s/file' % image['id'],
                          data=guests.image() if GUESTS else b'testbed image %s\n' % name.encode() * 32,
                          headers={'Content-Type': 'application/octet-stream'})
    for flavor_id, (name, ram, vcpus, disk) in FLAVORS.items():
        admin.post('compute', '/v2.1/flavors', 'flavor',
                   {'id': flavor_id, 'name': name, 'ram': ram, 'vcpus': vcpus, 'disk': disk}, accept=(409,))

    def have(kind, plural, name, **more):
        for item in admin.get('network', '/v2.0/%s?name=%s' % (plural, name), plural):
            return item['id']
        return admin.post('network', '/v2.0/' + plural, kind, {'name': name, **more})['id']

    network = have('network', 'networks', NETWORKS[0], **{
        'router:external': True, 'shared': False, 'is_default': True,
        'provider:network_type': 'flat', 'provider:physical_network': 'public'})
    have('subnet', 'subnets', SUBNETS[0], network_id=network, ip_version=4, enable_dhcp=False,
         cidr='172.24.%d.0/24' % cloud.number, gateway_ip='172.24.%d.1' % cloud.number)
    # auto-allocated topologies need a default external network and a default pool
    have('subnetpool', 'subnetpools', SUBNET_POOLS[0], prefixes=['10.128.0.0/12'], default_prefixlen=26,
         shared=True, is_default=True)
    types = {kind['name'] for kind in admin.get('volume', '/v3/{project_id}/types', 'volume_types')}
    if 'multiattach' not in types:
        admin.post('volume', '/v3/{project_id}/types', 'volume_type',
                   {'name': 'multiattach', 'extra_specs': {'multiattach': '<is> True'}})
