/**
 * What the service makes by itself for a tenant's router belongs to no project here, so that tenants neither see nor
 * count it; its copies in children belong to the tenant's project there, whose router has to be able to use them.
 */
import { Type } from 'typebox';
import { field, nullable } from '../resource/resource.ts';

/** The project of an object's copies in children, where that is not its own. */
export const copiesProject = field(nullable(Type.String()), { show: 'never', default: null });

interface Copied {
  readonly project_id: string;
  readonly copies_project_id?: string | null;
}

/** A row as its copies are made of it: with the project that they belong to. */
export const asCopied = <R extends Copied>(row: R): R =>
  row.copies_project_id == null ? row : { ...row, project_id: row.copies_project_id };
