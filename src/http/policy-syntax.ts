/** A rule that cannot be understood, and where. */
export class PolicySyntaxError extends Error {
  override name = 'PolicySyntaxError';

  /** `column` counts from 1. */
  constructor(
    reason: string,
    readonly column: number,
  ) {
    super(`${reason}, at column ${column}`);
  }
}

/** The right side of a check: text in which the parts at odd places are names of the target's attributes. */
export type Template = readonly string[];

/** A rule as a tree. */
export type RuleTree =
  | { readonly kind: 'always' }
  | { readonly kind: 'never' }
  | { readonly kind: 'not'; readonly of: RuleTree }
  | { readonly kind: 'and' | 'or'; readonly of: readonly RuleTree[] }
  | { readonly kind: 'rule'; readonly name: string }
  | { readonly kind: 'role'; readonly match: Template }
  | { readonly kind: 'literal'; readonly text: string; readonly match: Template }
  | { readonly kind: 'credential'; readonly path: readonly string[]; readonly match: Template };

interface Token {
  readonly text: string;
  readonly column: number;
}

const RULE_MAX_LENGTH = 10_000;
const DEPTH_MAX = 100;

/** Parentheses stand for themselves only at the ends of a word: within one they belong to `%(name)s`. */
function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  for (const match of text.matchAll(/\S+/g)) {
    const word = match[0];
    const start = match.index + 1;
    const opening = /^\(*/.exec(word)?.[0].length ?? 0;
    const closing = /\)*$/.exec(word.slice(opening))?.[0].length ?? 0;
    for (let at = 0; at < opening; at += 1) {
      tokens.push({ text: '(', column: start + at });
    }
    const inner = word.slice(opening, word.length - closing);
    if (inner !== '') {
      tokens.push({ text: inner, column: start + opening });
    }
    for (let at = word.length - closing; at < word.length; at += 1) {
      tokens.push({ text: ')', column: start + at });
    }
  }
  return tokens;
}

function parseTemplate(text: string, column: number): Template {
  const parts: string[] = [''];
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '%') {
      parts.push(`${parts.pop()}${text[at]}`);
      at += 1;
      continue;
    }
    const found = /^%(?:%|\(([^()]+)\)s)/.exec(text.slice(at));
    if (found === null) {
      throw new PolicySyntaxError('after % only %(attribute)s and %% are understood', column + at);
    }
    if (found[1] === undefined) {
      parts.push(`${parts.pop()}%`);
    } else {
      parts.push(found[1], '');
    }
    at += found[0].length;
  }
  return parts;
}

/** What Python, whose literals these are, would write for the literal; undefined when it is none. */
function literalText(kind: string): string | undefined {
  if (kind === 'True' || kind === 'False' || kind === 'None') {
    return kind;
  }
  const quoted = /^(['"])(.*)\1$/.exec(kind);
  if (quoted !== null) {
    return quoted[2];
  }
  if (/^-?(?:0|[1-9]\d*)$/.test(kind)) {
    return kind;
  }
  if (/^-?\d+\.\d+$/.test(kind)) {
    const value = Number(kind);
    return Number.isInteger(value) ? `${value}.0` : String(value);
  }
  return undefined;
}

function parseCheck({ text, column }: Token): RuleTree {
  if (text === '@') {
    return { kind: 'always' };
  }
  if (text === '!') {
    return { kind: 'never' };
  }
  const colon = text.indexOf(':');
  if (colon < 1) {
    throw new PolicySyntaxError(`"${text.slice(0, 64)}" is not a check such as role:admin`, column);
  }
  const left = text.slice(0, colon);
  const right = text.slice(colon + 1);
  const parenthesis = /[()]/.exec(left);
  if (parenthesis !== null) {
    throw new PolicySyntaxError('a parenthesis must stand apart from the word before it', column + parenthesis.index);
  }
  if (left === 'rule') {
    return { kind: 'rule', name: right };
  }
  const match = parseTemplate(right, column + colon + 1);
  if (left === 'role') {
    return { kind: 'role', match };
  }
  const literal = literalText(left);
  return literal === undefined
    ? { kind: 'credential', path: left.split('.'), match }
    : { kind: 'literal', text: literal, match };
}

const wordOf = (token: Token | undefined): string | undefined => token?.text.toLowerCase();

/**
 * Reads a rule in the language of oslo.policy. `not` binds closest, then `and`, then `or`; the empty rule allows all.
 * Throws a `PolicySyntaxError` that names the column.
 */
export function parseRule(text: string): RuleTree {
  if (text === '') {
    return { kind: 'always' };
  }
  if (text.length > RULE_MAX_LENGTH) {
    throw new PolicySyntaxError(`the rule is longer than ${RULE_MAX_LENGTH} characters`, RULE_MAX_LENGTH + 1);
  }
  const tokens = tokenize(text);
  let next = 0;

  function fail(wanted: string): never {
    const token = tokens[next];
    const found = token === undefined ? 'the rule ends' : `there is "${token.text.slice(0, 64)}"`;
    throw new PolicySyntaxError(`${wanted} is expected where ${found}`, token?.column ?? text.length + 1);
  }

  function parseUnary(depth: number): RuleTree {
    if (depth > DEPTH_MAX) {
      fail(`a rule nested at most ${DEPTH_MAX} deep`);
    }
    const token = tokens[next];
    const word = wordOf(token);
    if (token === undefined || word === ')' || word === 'and' || word === 'or') {
      return fail('a check');
    }
    next += 1;
    if (word === 'not') {
      return { kind: 'not', of: parseUnary(depth + 1) };
    }
    if (word !== '(') {
      return parseCheck(token);
    }
    const inner = parseSeries('or', depth + 1);
    if (wordOf(tokens[next]) !== ')') {
      fail('"and", "or" or ")"');
    }
    next += 1;
    return inner;
  }

  function parseSeries(kind: 'and' | 'or', depth: number): RuleTree {
    const parsePart = () => (kind === 'or' ? parseSeries('and', depth) : parseUnary(depth));
    const first = parsePart();
    const parts = [first];
    while (wordOf(tokens[next]) === kind) {
      next += 1;
      parts.push(parsePart());
    }
    return parts.length === 1 ? first : { kind, of: parts };
  }

  const tree = parseSeries('or', 0);
  if (next < tokens.length) {
    fail('"and" or "or"');
  }
  return tree;
}

/** The names of the rules that a rule refers to. */
export function referencesOf(tree: RuleTree): string[] {
  switch (tree.kind) {
    case 'rule':
      return [tree.name];
    case 'not':
      return referencesOf(tree.of);
    case 'and':
    case 'or':
      return tree.of.flatMap(referencesOf);
    default:
      return [];
  }
}
