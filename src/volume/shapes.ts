/** Shapes of input that several of Cinder's resources share. */
import { Type } from 'typebox';
import { nullable } from '../resource/resource.ts';

export const Name = nullable(Type.String({ maxLength: 255 }));
export const Description = nullable(Type.String({ maxLength: 255 }));
export const Metadata = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9-_:. ]{1,255}$' }),
  nullable(Type.String({ maxLength: 255 })),
  { additionalProperties: false, maxProperties: 256 },
);
/** As stored: what was null is empty. */
export const StoredMetadata = Type.Record(Type.String(), Type.String());
/** What Python takes for a boolean. */
export const Boolish = Type.Union([
  Type.Boolean(),
  Type.String({
    pattern: '^(?:[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|1|0|[Oo][Nn]|[Oo][Ff][Ff]|[Yy][Ee][Ss]|[Nn][Oo]|[TtFfYyNn])$',
  }),
  Type.Integer({ minimum: 0, maximum: 1 }),
]);
/** GiB, as a number or in digits. */
export const Size = Type.Union([
  Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
  Type.String({ pattern: '^[0-9]+$', maxLength: 10 }),
]);

/** The truth of what `Boolish` let through. */
export const isTrue = (value: unknown): boolean =>
  value === true || value === 1 || /^(true|1|on|yes|t|y)$/i.test(String(value));

/** Metadata as it is stored: what was null is empty. */
export function metadataOf(given: Readonly<Record<string, string | null>> | null | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(given ?? {}).map(([key, value]) => [key, value ?? '']));
}

/** Cinder cuts spaces around names and descriptions. */
export const trimmed = (text: string | null | undefined): string | null => text?.trim() ?? null;
