import { parseRule, PolicySyntaxError, referencesOf, type RuleTree, type Template } from './policy-syntax.ts';

export { PolicySyntaxError } from './policy-syntax.ts';

/** Who calls, as rules see it. */
export interface Credentials {
  readonly user_id?: string | null | undefined;
  readonly project_id?: string | null | undefined;
  readonly domain_id?: string | null | undefined;
  /** `all` in a token for the system. */
  readonly system_scope?: string | null | undefined;
  readonly roles: readonly string[];
  readonly is_admin?: boolean | undefined;
}

/** The attributes of what is acted on; `%(a.b)s` names the attribute `a.b`, else `b` within `a`. */
export type Target = Readonly<Record<string, unknown>>;

/** A compiled rule. `rules` are those it may refer to. */
export type Check = (credentials: Credentials, target: Target, rules: ReadonlyMap<string, Check>) => boolean;

export interface RuleDefault {
  readonly name: string;
  readonly check: string;
  readonly description?: string;
}

export interface Policy {
  /** Whether the rule of this name allows it; a rule that there is not allows nothing. */
  allowed(name: string, credentials: Credentials, target: Target): boolean;
  /** Whether what a rule allows depends on this attribute of what is acted on, be it by rules that it refers to. */
  speaksOf(name: string, attribute: string): boolean;
  /** The names of all rules, sorted. */
  names(): string[];
}

/** The rules that every service shares. */
export const BASE_RULES: readonly Required<RuleDefault>[] = [
  { name: 'public', check: '@', description: 'Everybody' },
  { name: 'admin', check: 'role:admin', description: 'Administrators of the whole cloud' },
  { name: 'admin_only', check: 'rule:admin', description: 'Nobody but administrators' },
  { name: 'service_role', check: 'role:service', description: 'Services acting on their own behalf' },
  {
    name: 'project_manager',
    check: 'role:manager and project_id:%(project_id)s',
    description: 'Managers of the project concerned',
  },
  {
    name: 'project_member',
    check: 'role:member and project_id:%(project_id)s',
    description: 'Members of the project concerned',
  },
  {
    name: 'project_reader',
    check: 'role:reader and project_id:%(project_id)s',
    description: 'Those who may read in the project concerned',
  },
  {
    name: 'project_member_or_admin',
    check: 'rule:project_member or rule:admin',
    description: 'Members of the project concerned, and administrators',
  },
  {
    name: 'project_reader_or_admin',
    check: 'rule:project_reader or rule:admin',
    description: 'Those who may read in the project concerned, and administrators',
  },
];

/** A value as Python writes it, since rules say `True` and `None`; undefined for what no rule can name. */
function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value;
    case 'boolean':
      return value ? 'True' : 'False';
    case 'number':
    case 'bigint':
      return String(value);
    default:
      return value === null || value === undefined ? 'None' : undefined;
  }
}

function own(value: unknown, key: string): { value: unknown } | undefined {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? { value: (value as Record<string, unknown>)[key] }
    : undefined;
}

function targetText(target: Target, name: string, segments: readonly string[]): string | undefined {
  if (Object.hasOwn(target, name)) {
    return textOf(target[name]);
  }
  if (segments.length === 1) {
    return undefined;
  }
  let found: { value: unknown } | undefined = { value: target };
  for (const segment of segments) {
    found = own(found.value, segment);
    if (found === undefined) {
      return undefined;
    }
  }
  return textOf(found.value);
}

type Fill = (target: Target) => string | undefined;

/** Gives undefined, with which nothing matches, when the target lacks an attribute. */
function compileTemplate(template: Template): Fill {
  const [before = '', name, after = ''] = template;
  if (name === undefined) {
    return () => before;
  }
  const segments = name.split('.');
  if (template.length === 3) {
    const plain = before === '' && after === '';
    return (target) => {
      const text = targetText(target, name, segments);
      return plain || text === undefined ? text : before + text + after;
    };
  }
  const parts = template.map((part, index) => (index % 2 === 0 ? part : part.split('.')));
  return (target) => {
    let filled = '';
    for (const part of parts) {
      const text = typeof part === 'string' ? part : targetText(target, part.join('.'), part);
      if (text === undefined) {
        return undefined;
      }
      filled += text;
    }
    return filled;
  };
}

/** Whether what is at the path within the credentials, or in any of the lists met on the way, is the text. */
function contains(value: unknown, path: readonly string[], depth: number, wanted: string, literal: boolean): boolean {
  if (Array.isArray(value)) {
    return value.some((item) => contains(item, path, depth, wanted, literal));
  }
  const key = path[depth];
  if (key !== undefined) {
    const found = own(value, key);
    return found !== undefined && contains(found.value, path, depth + 1, wanted, literal);
  }
  // Having no project is not the same as something's having none: absence matches only where a rule says `None`.
  return (literal || (value !== null && value !== undefined)) && textOf(value) === wanted;
}

function compileRole(match: Template): Check {
  const fill = compileTemplate(match);
  const fixed = match.length === 1 ? match[0]?.toLowerCase() : undefined;
  return ({ roles }, target) => {
    const wanted = fixed ?? fill(target)?.toLowerCase();
    if (wanted === undefined) {
      return false;
    }
    for (const role of roles) {
      if (role === wanted || role.toLowerCase() === wanted) {
        return true;
      }
    }
    return false;
  };
}

function compileTree(tree: RuleTree): Check {
  switch (tree.kind) {
    case 'always':
      return () => true;
    case 'never':
      return () => false;
    case 'not': {
      const of = compileTree(tree.of);
      return (credentials, target, rules) => !of(credentials, target, rules);
    }
    case 'and':
    case 'or': {
      const parts = tree.of.map(compileTree);
      const decisive = tree.kind === 'or';
      return (credentials, target, rules) => {
        for (const part of parts) {
          if (part(credentials, target, rules) === decisive) {
            return decisive;
          }
        }
        return !decisive;
      };
    }
    case 'rule':
      return (credentials, target, rules) => rules.get(tree.name)?.(credentials, target, rules) === true;
    case 'role':
      return compileRole(tree.match);
    case 'literal': {
      const fill = compileTemplate(tree.match);
      return (_, target) => fill(target) === tree.text;
    }
    case 'credential': {
      const fill = compileTemplate(tree.match);
      const literal = tree.match.length === 1;
      return (credentials, target) => {
        const wanted = fill(target);
        return wanted !== undefined && contains(credentials, tree.path, 0, wanted, literal);
      };
    }
  }
}

/**
 * Compiles one rule in the language of oslo.policy. A reference to a rule that there is not fails closed; `rules` must
 * have no cycle. Throws a `PolicySyntaxError` that names the column.
 */
export function compileRule(text: string): Check {
  return compileTree(parseRule(text));
}

function refuseCycles(trees: ReadonlyMap<string, RuleTree>): void {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) {
      const circle = [...path.slice(path.indexOf(name)), name];
      throw new Error(`policy rules refer to each other in a circle: ${circle.join(' -> ')}`);
    }
    const tree = trees.get(name);
    if (tree === undefined || done.has(name)) {
      return;
    }
    for (const reference of referencesOf(tree)) {
      visit(reference, [...path, name]);
    }
    done.add(name);
  };
  for (const name of trees.keys()) {
    visit(name, []);
  }
}

/**
 * Compiles all rules, an operator's `overrides` (from a policy.yaml) in place of `defaults`; overrides may add rules for
 * others to refer to. Throws, naming the rule, when one cannot be understood, and when rules refer to each other in a
 * circle or two defaults of one name differ.
 */
export function createPolicy(options: {
  defaults: Iterable<RuleDefault>;
  overrides?: Readonly<Record<string, string>>;
}): Policy {
  const texts = new Map<string, string>();
  for (const { name, check } of options.defaults) {
    if ((texts.get(name) ?? check) !== check) {
      throw new Error(`the policy rule ${name} has two different defaults`);
    }
    texts.set(name, check);
  }
  for (const [name, check] of Object.entries(options.overrides ?? {})) {
    texts.set(name, check);
  }
  const trees = new Map<string, RuleTree>();
  for (const [name, text] of texts) {
    try {
      trees.set(name, parseRule(text));
    } catch (error) {
      if (error instanceof PolicySyntaxError) {
        throw new Error(`the policy rule ${name} cannot be understood: ${error.message}`, { cause: error });
      }
      throw error;
    }
  }
  refuseCycles(trees);
  const rules = new Map([...trees].map(([name, tree]) => [name, compileTree(tree)]));
  const speaks = (name: string, reference: string): boolean => {
    const tree = trees.get(name);
    if (tree === undefined) return false;
    return texts.get(name)?.includes(reference) === true || referencesOf(tree).some((one) => speaks(one, reference));
  };
  return {
    allowed: (name, credentials, target) => rules.get(name)?.(credentials, target, rules) === true,
    speaksOf: (name, attribute) => speaks(name, `%(${attribute})s`),
    names: () => [...rules.keys()].sort(),
  };
}
