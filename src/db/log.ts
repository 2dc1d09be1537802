/** The part of a pino logger that the database needs. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log that forgets everything, for callers that give none. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
