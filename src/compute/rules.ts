/** Nova's rules: a name and who may. */
import type { PolicyRule } from '../http/service.ts';

export const ADMIN = 'rule:admin';
export const READER = 'rule:project_reader_or_admin';
export const MEMBER = 'rule:project_member_or_admin';
/** Whoever has a token. */
export const ANYBODY = '@';

/** A rule of compute by its name without the common prefix. */
export const computeRule = (name: string, check: string): PolicyRule => ({ name: `os_compute_api:${name}`, check });
