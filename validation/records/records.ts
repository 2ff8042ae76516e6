import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { BitnetError } from "../../engine/errors.js";
import { readWhole, writeWhole } from "./files.js";
import { PACKAGE_FILE } from "./package.js";

/** What is written to disk; each has its schema, `schemas/<kind>.v1.schema.json`. */
export const RECORD_KINDS = [
  "acceptance-summary",
  "parity-report",
  "parity-failure",
  "perf-record",
  "perf-history",
  "bench-record",
  "receipt",
  "manifest",
  "platform-banner",
  "build-record",
  "eval-record",
] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/** Longest record that is read, in bytes: the largest real ones, parity reports of many prompts, are below 1 MB. */
export const MAX_RECORD_BYTES = 64 * 2 ** 20;

let schemas: Ajv2020 | undefined;

/** The compiled schema of a kind. All are read at the first call: they refer to each other. */
function schemaOf(kind: RecordKind): ValidateFunction {
  if (!schemas) {
    // To check the schemas themselves (`schemaFault` does), and to shorten the code made of them, would take longer than all else.
    schemas = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true, validateSchema: false, code: { optimize: false } });
    for (const schema of readSchemas().values()) schemas.addSchema(schema);
  }
  const validate = schemas.getSchema(`${kind}.v1.schema.json`);
  if (!validate) throw new BitnetError("internal", `the package has no schemas/${kind}.v1.schema.json`);
  return validate;
}

/** All schemas, by the names of their files. */
function readSchemas(): ReadonlyMap<string, object> {
  const folder = join(dirname(PACKAGE_FILE), "schemas");
  const names = readdirSync(folder).filter((name) => name.endsWith(".schema.json"));
  return new Map(names.sort().map((name) => [name, JSON.parse(readFileSync(join(folder, name), "utf8")) as object]));
}

let draft: Ajv2020 | undefined;

/** What is wrong with the schemas themselves; undefined: they are what their draft calls schemas. */
export function schemaFault(): string | undefined {
  draft ??= new Ajv2020();
  for (const [name, schema] of readSchemas())
    if (!draft.validateSchema(schema)) return `schemas/${name} is not a schema: ${draft.errorsText()}`;
  return undefined;
}

/**
 * Checks a record against the schema of its kind, and its short hash against the long one.
 * @param where path of the record, for the message
 * @throws BitnetError file: names the record, the place in it as a JSON pointer, and what is wrong
 */
export function checkRecord(kind: RecordKind, value: unknown, where: string): void {
  const validate = schemaOf(kind);
  if (!validate(value)) throw bad(kind, where, validate.errors?.[0]);
  const { provenance } = value as { readonly provenance?: { readonly model_hash: string | null; readonly model_sha256: string | null } };
  if (provenance && (provenance.model_sha256?.slice(0, 16) ?? null) !== provenance.model_hash) {
    throw new BitnetError("file", `${where}: /provenance/model_hash does not match the beginning of model_sha256`, { file: where });
  }
}

function bad(kind: RecordKind, where: string, error: ErrorObject | undefined): BitnetError {
  const { additionalProperty, allowedValue, allowedValues } = (error?.params ?? {}) as Record<string, unknown>;
  const named = additionalProperty ?? allowedValue ?? (Array.isArray(allowedValues) ? allowedValues.join(", ") : undefined);
  const what = `${error?.message ?? "is invalid"}${named === undefined ? "" : `: ${String(named)}`}`;
  return new BitnetError("file", `${where}: ${error?.instancePath || "/"} ${what} (schemas/${kind}.v1.schema.json)`, { file: where });
}

/** Writes a checked record, whole or not at all: keys in the order given, 2 spaces, a line end. @throws BitnetError file, io */
export async function writeRecord(path: string, kind: RecordKind, value: unknown): Promise<void> {
  checkRecord(kind, value, path);
  await writeWhole(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/** Writes checked records as JSON lines; none is an empty file. @throws BitnetError file, io */
export async function writeRows(path: string, kind: RecordKind, rows: readonly unknown[]): Promise<void> {
  for (const [i, row] of rows.entries()) checkRecord(kind, row, `${path}, row ${i + 1}`);
  await writeWhole(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Reads and checks a record. @throws BitnetError file, io */
export async function readRecord<T>(path: string, kind: RecordKind): Promise<T> {
  return parseRecord(await readWhole(path, MAX_RECORD_BYTES), kind, path);
}

/** Checks a record that was read. @throws BitnetError file */
export function parseRecord<T>(data: Uint8Array, kind: RecordKind, where: string): T {
  const value = parse(new TextDecoder().decode(data), where);
  checkRecord(kind, value, where);
  return value as T;
}

/** Reads and checks JSON lines; rows count from 1 in messages. @throws BitnetError file, io */
export async function readRows<T>(path: string, kind: RecordKind): Promise<T[]> {
  return parseRows(await readWhole(path, MAX_RECORD_BYTES), kind, path);
}

/** Checks JSON lines that were read. @throws BitnetError file */
export function parseRows<T>(data: Uint8Array, kind: RecordKind, path: string): T[] {
  const lines = new TextDecoder().decode(data).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line, i) => {
    const where = `${path}, row ${i + 1}`;
    const value = parse(line, where);
    checkRecord(kind, value, where);
    return value as T;
  });
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new BitnetError("file", `${where} is not JSON: ${(error as Error).message}`, { file: where });
  }
}
