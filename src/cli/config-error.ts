import { errorText } from '../db/connection.ts';

/** A fault of the operator's, told in one line. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

/** Throws what went wrong as something for the operator: one line, without a stack. */
export function forOperator(error: unknown): never {
  throw new ConfigError(errorText(error));
}
