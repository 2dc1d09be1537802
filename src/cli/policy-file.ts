/** The operator's policy.yaml: rules of oslo.policy that hold in place of the defaults. */
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { compileRule } from '../http/policy.ts';
import { ConfigError } from './config-error.ts';

/** All names and rules together; the largest file of a real service has a few hundred. */
const RULES_MAX = 10_000;

/**
 * Reads a policy file, which may be JSON as well: names and rules, nothing else. An empty file changes nothing.
 * @returns rules by name
 * @throws ConfigError naming the file, the rule, and what is wrong with it
 */
export function readPolicyFile(path: string): Readonly<Record<string, string>> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as { code?: string };
    throw new ConfigError(`${path}: \`policy_file\` cannot be read (${code ?? 'unknown reason'}); mend its path`);
  }
  const document = parseDocument(text, { prettyErrors: true });
  const broken = document.errors[0];
  if (broken !== undefined) throw new ConfigError(`${path}: this is not YAML: ${broken.message.split('\n')[0]}`);
  const value: unknown = document.toJS({ maxAliasCount: 100 }) ?? {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ConfigError(`${path}: write one rule a line, as in \`"create_network": "role:member"\``);
  }
  const rules = Object.entries(value);
  if (rules.length > RULES_MAX) throw new ConfigError(`${path}: there are more than ${RULES_MAX} rules`);
  for (const [name, rule] of rules) {
    if (typeof rule !== 'string') {
      throw new ConfigError(`${path}: the rule \`${name}\` is no text; write it in quotes, as in \`"role:admin"\``);
    }
    try {
      compileRule(rule);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ConfigError(`${path}: the rule \`${name}\` cannot be understood: ${reason}`);
    }
  }
  return Object.fromEntries(rules) as Record<string, string>;
}
