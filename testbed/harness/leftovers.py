"""Everything a cloud holds beyond its seed. End-to-end tests ask it to prove that they left nothing behind."""
from concurrent.futures import ThreadPoolExecutor

from . import seed

# kind: service, path, key of the list. Where an administrator sees only his own by default, the path says "all".
KINDS = {
    'server': ('compute', '/v2.1/servers/detail?all_tenants=1', 'servers'),
    'server_group': ('compute', '/v2.1/os-server-groups?all_projects=1', 'server_groups'),
    'aggregate': ('compute', '/v2.1/os-aggregates', 'aggregates'),
    'flavor': ('compute', '/v2.1/flavors?is_public=None', 'flavors'),
    'network': ('network', '/v2.0/networks', 'networks'),
    'subnet': ('network', '/v2.0/subnets', 'subnets'),
    'subnet_pool': ('network', '/v2.0/subnetpools', 'subnetpools'),
    'port': ('network', '/v2.0/ports', 'ports'),
    'trunk': ('network', '/v2.0/trunks', 'trunks'),
    'router': ('network', '/v2.0/routers', 'routers'),
    'floating_ip': ('network', '/v2.0/floatingips', 'floatingips'),
    'security_group': ('network', '/v2.0/security-groups', 'security_groups'),
    'qos_policy': ('network', '/v2.0/qos/policies', 'policies'),
    'volume': ('volume', '/v3/{project_id}/volumes/detail?all_tenants=1', 'volumes'),
    'snapshot': ('volume', '/v3/{project_id}/snapshots/detail?all_tenants=1', 'snapshots'),
    'volume_type': ('volume', '/v3/{project_id}/types?is_public=None', 'volume_types'),
    'image': ('image', '/v2/images?limit=1000', 'images'),
    'hidden_image': ('image', '/v2/images?limit=1000&os_hidden=true', 'images'),
    'project': ('identity', '/v3/projects', 'projects'),
    'user': ('identity', '/v3/users', 'users'),
}
SEEDS = {'network': seed.NETWORKS, 'subnet': seed.SUBNETS, 'subnet_pool': seed.SUBNET_POOLS, 'image': seed.IMAGES,
         'volume_type': seed.VOLUME_TYPES, 'project': seed.PROJECTS, 'user': seed.USERS,
         'flavor': [name for name, *_ in seed.FLAVORS.values()]}
# os-keypairs?user_id= came with microversion 2.10
MICROVERSION = {'OpenStack-API-Version': 'compute 2.90'}


def _beyond_seed(kind, items):
    """The items that are not of the seed. One object per seed name passes, the oldest: a copy that bears
    the same name is a leftover. Each project has a default security group that nobody can delete."""
    if kind == 'security_group':
        return [item for item in items if item['name'] != 'default']
    allowed = set(SEEDS.get(kind, []))
    found = []
    for item in sorted(items, key=lambda item: str(item.get('created_at', ''))):
        if kind == 'flavor' and item['id'] in seed.FLAVORS:
            continue
        if kind != 'flavor' and item.get('name') in allowed:
            allowed.remove(item['name'])
        else:
            found.append(item)
    return found


def _brief(item):
    names = ('id', 'name', 'status', 'user_id', 'device_owner', 'floating_ip_address')
    brief = {name: item[name] for name in names if item.get(name)}
    project = item.get('tenant_id') or item.get('project_id') or item.get('owner') or \
        item.get('os-vol-tenant-attr:tenant_id') or item.get('os-extended-snapshot-attributes:project_id')
    return {**brief, 'project_id': project} if project else brief


def leftovers(cloud):
    """Kind -> objects (id, name and what helps to find whose they are) for every kind of which something is left.
    Key pairs are listed per user, the only way Nova offers: those of a deleted user cannot be seen."""
    admin = cloud.admin.login()
    with ThreadPoolExecutor(6) as pool:
        lists = {kind: pool.submit(admin.everything, service, path, key, MICROVERSION if service == 'compute' else None)
                 for kind, (service, path, key) in KINDS.items()}
        users = lists['user'].result()
        keypairs = {user['id']: pool.submit(admin.get, 'compute', '/v2.1/os-keypairs?user_id=' + user['id'], 'keypairs',
                                            MICROVERSION) for user in users}
        found = {kind: [_brief(item) for item in _beyond_seed(kind, future.result())]
                 for kind, future in lists.items()}
        found['image'] += found.pop('hidden_image')
        found['keypair'] = [{'name': pair['keypair']['name'], 'user_id': user_id}
                            for user_id, future in keypairs.items() for pair in future.result()]
    return {kind: items for kind, items in found.items() if items}
