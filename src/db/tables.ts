/**
 * Every table, by name, as Kysely sees it. It is empty here: the file that owns a table adds it, so that a table's type
 * stands beside its owner:
 *
 *     declare module '../db/tables.ts' {
 *       interface Tables {
 *         servers: ServerTable;
 *       }
 *     }
 */
// oxlint-disable-next-line typescript/no-empty-object-type typescript/no-empty-interface
export interface Tables {}
