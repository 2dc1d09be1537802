"""Calls to the REST API of one cloud as its administrator."""
import json
import urllib.error
import urllib.parse
import urllib.request
from collections import namedtuple

Answer = namedtuple('Answer', 'status body headers')

# a proxy of the caller's environment must not see loopback calls
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method, url, body=None, headers=None, data=None, accept=(), timeout_s=120):
    """One request: body is sent as JSON, data as it is. Gives an Answer (its body is None if it is no JSON);
    raises RuntimeError for a status of 400 and more that is not in accept, OSError when nobody answers."""
    if body is not None:
        data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={
        'Content-Type': 'application/json', 'Accept': 'application/json', **(headers or {})})
    try:
        with _opener.open(request, timeout=timeout_s) as response:
            status, text, answered = response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        status, text, answered = error.code, error.read(), error.headers
    # 300 is how the services answer their version list
    if status > 300 and status not in accept:
        raise RuntimeError('%s %s -> %d %s' % (method, url, status, text.decode(errors='replace')[:500]))
    try:
        return Answer(status, json.loads(text) if text.strip() else None, answered)
    except ValueError:
        return Answer(status, None, answered)


class Administrator:
    """The administrator of a cloud, logged in at the first call."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.token = None
        self.project_id = None

    def login(self):
        answer = call('POST', self.cloud.url('identity', '/v3/auth/tokens'), {'auth': {
            'identity': {'methods': ['password'], 'password': {'user': {
                'name': 'admin', 'domain': {'id': 'default'}, 'password': self.cloud.secrets['admin']}}},
            'scope': {'project': {'name': 'admin', 'domain': {'id': 'default'}}}}}, timeout_s=30)
        self.project_id = answer.body['token']['project']['id']
        self.token = answer.headers['X-Subject-Token']
        return self

    def request(self, method, service, path, body=None, headers=None, **options):
        """A call to a service; {project_id} in the path stands for the administrator's own project."""
        if not self.token:
            self.login()
        return call(method, self.cloud.url(service, path.replace('{project_id}', self.project_id)), body,
                    {'X-Auth-Token': self.token, **(headers or {})}, **options)

    def get(self, service, path, key=None, headers=None):
        """The body of a GET, or what stands in it under key."""
        body = self.request('GET', service, path, headers=headers).body
        return body[key] if key else body

    def post(self, service, path, key, item, accept=()):
        """Make one object; gives it as the service answers it (images come without an envelope: key None)."""
        body = self.request('POST', service, path, {key: item} if key else item, accept=accept).body
        return body[key] if key and body and key in body else body

    def everything(self, service, path, key, headers=None):
        """All objects of a list, page by page (Nova and Cinder link with KEY_links, Glance with next)."""
        found = []
        while path:
            body = self.get(service, path, headers=headers)
            found += body[key]
            following = body.get('next') or next(
                (link['href'] for link in body.get(key + '_links', []) if link['rel'] == 'next'), None)
            if following:
                parts = urllib.parse.urlsplit(following)
                following = '%s?%s' % (parts.path, parts.query)
            path = following
        return found
