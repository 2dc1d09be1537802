/** Simulated Keystone: passwords and tokens, scoping, the catalog, projects, users, roles and their assignment. */
import { catalog, issue, notFound, renderToken, rolesOf, subjectOf } from './identity-token.ts';
import { addCatalog } from './identity-catalog.ts';
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { listOf, newHexId, type Project, type Row, SimFault, textOf, type User, type World } from './world.ts';

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
};

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
  addCatalog(service);
  return service;
}
