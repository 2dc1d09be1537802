/** Simulated Keystone: passwords and tokens, scoping, the catalog, projects, users, roles and their assignment. */
import { type Call, type Reply, route, section, type Service } from './http.ts';
import {
  type Json,
  listOf,
  newHexId,
  type Project,
  randomText,
  type Row,
  rowOf,
  SimFault,
  textOf,
  textsOf,
  type Token,
  type User,
  type World,
} from './world.ts';

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
};
const token_life_ms = 24 * 3600 * 1000;
const tokens_kept = 5000;
const denied = (): SimFault => new SimFault(401, 'The request you have made requires authentication.');
const notFound = (what: string, id: string): SimFault => new SimFault(404, `Could not find ${what}: ${id}.`);
const time = (at_ms: number): string => `${new Date(at_ms).toISOString().slice(0, 19)}.000000Z`;

/** Fills the stores with what `keystone-manage bootstrap` makes. Returns the cloud administrator and its project. */
export function seedIdentity(world: World, password: string): { admin: User; project: Project } {
  const { state } = world;
  state.domains.set('default', { id: 'default', name: 'Default', description: 'The default domain', enabled: true });
  for (const name of ['admin', 'member', 'reader']) state.roles.set(newHexId(), name);
  const [project] = ['admin', 'service'].map((name) => {
    const made = { id: newHexId(), name, domain_id: 'default', description: '', enabled: true };
    state.projects.set(made.id, made);
    return made;
  });
  if (project === undefined) throw new Error('no project was made');
  const admin = { id: newHexId(), name: 'admin', domain_id: 'default', password, enabled: true };
  state.users.set(admin.id, admin);
  for (const role of state.roles.keys()) state.assignments.add(`${project.id}/${admin.id}/${role}`);
  return { admin, project };
}

function catalog(world: World, projectId: string): Json {
  const services: [string, string, string][] = [
    ['identity', 'keystone', '/identity/v3'],
    ['compute', 'nova', '/compute/v2.1'],
    ['network', 'neutron', '/network'],
    ['volumev3', 'cinderv3', `/volume/v3/${projectId}`],
    ['image', 'glance', '/image'],
  ];
  return services.map(([type, name, path]) => ({
    id: `${type}-service`,
    type,
    name,
    endpoints: ['public', 'internal', 'admin'].map((kind) => ({
      id: `${type}-${kind}`,
      interface: kind,
      region: world.region,
      region_id: world.region,
      url: world.root() + path,
    })),
  }));
}

function domainRef(world: World, id: string): Row {
  return { id, name: world.state.domains.get(id)?.['name'] ?? id };
}

function rolesOf(world: World, userId: string, projectId: string): [string, string][] {
  return [...world.state.roles].filter(([id]) => world.state.assignments.has(`${projectId}/${userId}/${id}`));
}

function renderToken(world: World, token: Token, withCatalog = true): Row {
  const rendered: Row = {
    methods: [...token.methods],
    user: {
      id: token.user.id,
      name: token.user.name,
      domain: domainRef(world, token.user.domain_id),
      password_expires_at: null,
    },
    audit_ids: [token.auditId],
    issued_at: time(token.issuedAt_ms),
    expires_at: time(token.expiresAt_ms),
  };
  if (token.project !== undefined) {
    const { id, name, domain_id } = token.project;
    rendered['project'] = { id, name, domain: domainRef(world, domain_id) };
    rendered['is_domain'] = false;
  }
  if (token.domainId !== undefined) rendered['domain'] = domainRef(world, token.domainId);
  if (token.roles.length > 0) {
    const scoped =
      token.project === undefined ? [...world.state.roles] : rolesOf(world, token.user.id, token.project.id);
    rendered['roles'] = scoped.filter(([, name]) => token.roles.includes(name)).map(([id, name]) => ({ id, name }));
    if (withCatalog) rendered['catalog'] = catalog(world, token.project?.id ?? '');
  }
  return rendered;
}

function sameDomain(world: World, domain: Row, domainId: string): boolean {
  if (textOf(domain['id']) !== '') return domain['id'] === domainId;
  return world.state.domains.get(domainId)?.['name'] === domain['name'];
}

function userByPassword(world: World, given: Row): User {
  const user = [...world.state.users.values()].find((one) =>
    textOf(given['id']) === ''
      ? one.name === given['name'] && sameDomain(world, rowOf(given['domain']), one.domain_id)
      : one.id === given['id'],
  );
  if (user === undefined || !user.enabled || user.password !== given['password']) throw denied();
  return user;
}

function issue(world: World, call: Call): Reply {
  const auth = section(call, 'auth');
  const identity = rowOf(auth['identity']);
  const methods = textsOf(identity['methods']);
  let user: User;
  let parent: Token | undefined;
  if (methods.includes('token')) {
    parent = world.state.tokens.get(textOf(rowOf(identity['token'])['id']));
    if (parent === undefined || parent.expiresAt_ms < Date.now()) throw denied();
    user = parent.user;
  } else if (methods.includes('password')) {
    user = userByPassword(world, rowOf(rowOf(identity['password'])['user']));
  } else {
    throw new SimFault(400, 'Expecting to find methods in identity. The server could not comply with the request.');
  }
  const scope = rowOf(auth['scope']);
  let project: Project | undefined;
  let domainId: string | undefined;
  let roles: string[] = [];
  if (scope['project'] !== undefined) {
    const wanted = rowOf(scope['project']);
    project = [...world.state.projects.values()].find((one) =>
      textOf(wanted['id']) === ''
        ? one.name === wanted['name'] && sameDomain(world, rowOf(wanted['domain']), one.domain_id)
        : one.id === wanted['id'],
    );
    if (project === undefined || !project.enabled) throw denied();
    roles = rolesOf(world, user.id, project.id).map(([, name]) => name);
    // As Keystone does: no role on the project, no token for it.
    if (roles.length === 0) throw denied();
  } else if (scope['domain'] !== undefined) {
    const wanted = rowOf(scope['domain']);
    domainId = [...world.state.domains.keys()].find((id) => sameDomain(world, wanted, id));
    if (domainId === undefined || user.name !== 'admin') throw denied();
    roles = ['admin'];
  }
  const issuedAt_ms = Date.now();
  const token: Token = {
    id: `gAAAAA${randomText(90)}`,
    user,
    project,
    domainId,
    roles,
    issuedAt_ms,
    expiresAt_ms: parent?.expiresAt_ms ?? issuedAt_ms + token_life_ms,
    auditId: randomText(16),
    methods: parent === undefined ? ['password'] : ['token', 'password'],
  };
  world.state.tokens.set(token.id, token);
  if (world.state.tokens.size > tokens_kept) {
    for (const oldest of world.state.tokens.keys()) {
      world.state.tokens.delete(oldest);
      break;
    }
  }
  return { status: 201, body: { token: renderToken(world, token) }, headers: { 'x-subject-token': token.id } };
}

function subjectOf(world: World, call: Call): Token {
  const token = world.state.tokens.get(String(call.headers['x-subject-token'] ?? ''));
  if (token === undefined || token.expiresAt_ms < Date.now()) {
    throw new SimFault(404, 'Could not find token.');
  }
  return token;
}

function projectView(world: World, { id, name, domain_id, description, enabled }: Project): Row {
  return {
    id,
    name,
    domain_id,
    description,
    enabled,
    parent_id: domain_id,
    is_domain: false,
    tags: [],
    options: {},
    links: { self: `${world.root()}/identity/v3/projects/${id}` },
  };
}

function userView(world: World, { id, name, domain_id, enabled }: User): Row {
  const links = { self: `${world.root()}/identity/v3/users/${id}` };
  return { id, name, domain_id, enabled, password_expires_at: null, options: {}, links };
}

const roleView = (world: World, id: string, name: string): Row => ({
  id,
  name,
  domain_id: null,
  description: null,
  options: {},
  links: { self: `${world.root()}/identity/v3/roles/${id}` },
});

function collection(world: World, call: Call, name: string, rows: Row[]): Reply {
  const wanted = ['name', 'domain_id', 'enabled', 'parent_id'].filter((key) => call.query.has(key));
  const kept = rows.filter((row) =>
    wanted.every((key) => String(row[key]) === call.query.get(key)?.replace('True', 'true')),
  );
  const search = [...call.query.keys()].length > 0 ? `?${call.query}` : '';
  const self = `${world.root()}/identity/v3${call.path}${search}`;
  return { status: 200, body: { [name]: kept, links: { next: null, self, previous: null } } };
}

function addProjects(world: World, service: Service): void {
  const { projects } = world.state;
  const get = (id: string | undefined): Project => {
    const found = projects.get(id ?? '');
    if (found === undefined) throw notFound('project', id ?? '');
    return found;
  };
  const clash = (name: string, domainId: string, own?: string): void => {
    const taken = [...projects.values()].find(
      (one) => one.name === name && one.domain_id === domainId && one.id !== own,
    );
    if (taken === undefined) return;
    const why = 'it is not permitted to have two projects with either the same name or same id in the same domain';
    throw new SimFault(
      409,
      `Conflict occurred attempting to store project - ${why}: name is ${name}, project id ${taken.id}.`,
    );
  };
  route(service, 'GET', '/projects', (call) =>
    collection(
      world,
      call,
      'projects',
      [...projects.values()].map((one) => projectView(world, one)),
    ),
  );
  route(
    service,
    'POST',
    '/projects',
    (call) => {
      const given = section(call, 'project');
      const name = textOf(given['name']);
      if (name === '') throw new SimFault(400, "'name' is a required property");
      const domain_id = textOf(given['domain_id']) || call.token.project?.domain_id || 'default';
      clash(name, domain_id);
      const description = textOf(given['description']);
      const made = { id: newHexId(), name, domain_id, description, enabled: given['enabled'] !== false };
      projects.set(made.id, made);
      return { status: 201, body: { project: projectView(world, made) } };
    },
    { policy: 'identity:create_project' },
  );
  route(service, 'GET', '/projects/:id', (call) => ({
    status: 200,
    body: { project: projectView(world, get(call.params['id'])) },
  }));
  route(
    service,
    'PATCH',
    '/projects/:id',
    (call) => {
      const project = get(call.params['id']);
      const given = section(call, 'project');
      const name = textOf(given['name']);
      if (name !== '') {
        clash(name, project.domain_id, project.id);
        project.name = name;
      }
      if (typeof given['description'] === 'string') project.description = given['description'];
      if (typeof given['enabled'] === 'boolean') project.enabled = given['enabled'];
      return { status: 200, body: { project: projectView(world, project) } };
    },
    { policy: 'identity:update_project' },
  );
  route(
    service,
    'DELETE',
    '/projects/:id',
    (call) => {
      const { id } = get(call.params['id']);
      projects.delete(id);
      for (const key of world.state.assignments) if (key.startsWith(`${id}/`)) world.state.assignments.delete(key);
      for (const [key, token] of world.state.tokens) if (token.project?.id === id) world.state.tokens.delete(key);
      return { status: 204 };
    },
    { policy: 'identity:delete_project' },
  );
  route(service, 'GET', '/auth/projects', (call) => {
    const mine = [...projects.values()].filter((one) => rolesOf(world, call.token.user.id, one.id).length > 0);
    return collection(
      world,
      call,
      'projects',
      mine.map((one) => projectView(world, one)),
    );
  });
}

function addAssignments(world: World, service: Service): void {
  const { assignments, projects, users, roles } = world.state;
  const keyOf = ({ params }: Call): string => {
    const { project = '', user = '', role = '' } = params;
    if (!projects.has(project)) throw notFound('project', project);
    if (!users.has(user)) throw notFound('user', user);
    if (!roles.has(role)) throw notFound('role', role);
    return `${project}/${user}/${role}`;
  };
  const path = '/projects/:project/users/:user/roles/:role';
  const policy = { policy: 'identity:create_grant' };
  const missing = (call: Call): SimFault => notFound('role assignment with role', call.params['role'] ?? '');
  const put = (call: Call): Reply => {
    assignments.add(keyOf(call));
    return { status: 204 };
  };
  const head = (call: Call): Reply => {
    if (!assignments.has(keyOf(call))) throw missing(call);
    return { status: 204 };
  };
  const remove = (call: Call): Reply => {
    if (!assignments.delete(keyOf(call))) throw missing(call);
    return { status: 204 };
  };
  route(service, 'PUT', path, put, policy);
  route(service, 'HEAD', path, head);
  route(service, 'GET', path, head);
  route(service, 'DELETE', path, remove, policy);
  route(service, 'GET', '/projects/:project/users/:user/roles', (call) => {
    const held = rolesOf(world, call.params['user'] ?? '', call.params['project'] ?? '');
    return collection(
      world,
      call,
      'roles',
      held.map(([id, name]) => roleView(world, id, name)),
    );
  });
  route(service, 'GET', '/role_assignments', (call) => {
    const [userId, projectId] = [call.query.get('user.id'), call.query.get('scope.project.id')];
    const kept = [...assignments]
      .map((key) => key.split('/'))
      .filter(([project, user]) => (projectId ?? project) === project && (userId ?? user) === user)
      .map(([project = '', user = '', role = '']) => ({
        role: { id: role },
        user: { id: user },
        scope: { project: { id: project } },
      }));
    return collection(world, call, 'role_assignments', kept);
  });
}

function addUsers(world: World, service: Service): void {
  const { users } = world.state;
  const get = (id: string | undefined): User => {
    const found = users.get(id ?? '');
    if (found === undefined) throw notFound('user', id ?? '');
    return found;
  };
  const policy = { policy: 'identity:create_user' };
  route(service, 'GET', '/users', (call) =>
    collection(
      world,
      call,
      'users',
      [...users.values()].map((one) => userView(world, one)),
    ),
  );
  route(service, 'GET', '/users/:id', (call) => ({
    status: 200,
    body: { user: userView(world, get(call.params['id'])) },
  }));
  route(
    service,
    'POST',
    '/users',
    (call) => {
      const given = section(call, 'user');
      const name = textOf(given['name']);
      const domain_id = textOf(given['domain_id']) || 'default';
      if ([...users.values()].some((one) => one.name === name && one.domain_id === domain_id)) {
        throw new SimFault(
          409,
          `Conflict occurred attempting to store user - Duplicate entry found with name ${name}.`,
        );
      }
      const made: User = { id: newHexId(), name, domain_id, password: textOf(given['password']), enabled: true };
      users.set(made.id, made);
      return { status: 201, body: { user: userView(world, made) } };
    },
    policy,
  );
  route(
    service,
    'DELETE',
    '/users/:id',
    (call) => {
      users.delete(get(call.params['id']).id);
      return { status: 204 };
    },
    policy,
  );
}

/** The identity service, mounted on `/identity/v3`. */
export function identityService(world: World): Service {
  const service: Service = {
    name: 'identity',
    mount: '/identity/v3',
    routes: [],
    renderFault: ({ status, message }) => ({
      status,
      body: { error: { code: status, message, title: titles[status] ?? 'Error' } },
    }),
    unknownPath: {
      status: 404,
      text: '<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n',
    },
    forbidden: (policy) => new SimFault(403, `You are not authorized to perform the requested action: ${policy}.`),
  };
  const { state } = world;
  const show = (call: Call): Reply => {
    const token = subjectOf(world, call);
    const body = { token: renderToken(world, token, !call.query.has('nocatalog')) };
    return { status: 200, body, headers: { 'x-subject-token': token.id } };
  };
  route(service, 'POST', '/auth/tokens', (call) => issue(world, call), { open: true });
  route(service, 'GET', '/auth/tokens', show);
  route(service, 'HEAD', '/auth/tokens', show);
  route(service, 'DELETE', '/auth/tokens', (call) => {
    state.tokens.delete(subjectOf(world, call).id);
    return { status: 204 };
  });
  route(service, 'GET', '/auth/catalog', (call) => ({
    status: 200,
    body: {
      catalog: listOf(catalog(world, call.projectId)),
      links: { self: `${world.root()}/identity/v3/auth/catalog` },
    },
  }));
  route(service, 'GET', '/roles', (call) =>
    collection(
      world,
      call,
      'roles',
      [...state.roles].map(([id, name]) => roleView(world, id, name)),
    ),
  );
  route(service, 'GET', '/domains', (call) => collection(world, call, 'domains', [...state.domains.values()]));
  route(service, 'GET', '/domains/:id', (call) => {
    const domain = state.domains.get(call.params['id'] ?? '');
    if (domain === undefined) throw notFound('domain', call.params['id'] ?? '');
    return { status: 200, body: { domain } };
  });
  addProjects(world, service);
  addAssignments(world, service);
  addUsers(world, service);
  return service;
}
