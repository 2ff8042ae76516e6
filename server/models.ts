import type { Model } from "../engine/index.js";
import type { JsonObject } from "./body.js";
import { ApiError } from "./errors.js";
import { field, TEXT } from "./fields.js";

/** What is used of a model. */
export type ServedModel = Pick<
  Model,
  "generate" | "chat" | "embed" | "tokenizer" | "chatTemplate" | "toolCallParser" | "contextLength" | "stats"
>;

/** A model that is used: it stays loaded until it is released. */
export interface Lease {
  readonly model: ServedModel;
  /** @param failed the model can't answer any more */
  release(failed: boolean): void;
}

/** What is known of a model without using it. */
export interface ModelState {
  readonly name: string;
  /** Undefined: it isn't loaded. */
  readonly model: ServedModel | undefined;
  /** How often it was loaded. */
  readonly loads: number;
}

/** Models by the names that clients call them. */
export interface Models {
  /** In the order in which they are listed. */
  states(): readonly ModelState[];
  /** The model of one of these names, loaded if need be. Rejects with the signal's reason, or with what it is refused for. */
  use(name: string, signal: AbortSignal): Promise<Lease>;
  /** One of them can't answer any more, and won't be loaded anew. */
  readonly failed: boolean;
}

/** Models that are loaded already. */
export class LoadedModels implements Models {
  readonly #models: ReadonlyMap<string, ServedModel>;
  failed = false;

  constructor(models: ReadonlyMap<string, ServedModel>) {
    this.#models = models;
  }

  states(): readonly ModelState[] {
    return [...this.#models].map(([name, model]) => ({ name, model, loads: 1 }));
  }

  async use(name: string): Promise<Lease> {
    const release = (failed: boolean): void => {
      if (failed) this.failed = true;
    };
    return { model: this.#models.get(name)!, release };
  }
}

/** The name of the model that a request asks for, or that of the only one there is. @throws ApiError 404: there is none of that name */
export function modelName(models: Models, body: JsonObject): string {
  const given = field(body, "model", TEXT);
  const names = namesOf(models);
  if (given === undefined && names.length === 1) return names[0]!;
  if (given === undefined) throw new ApiError(400, `model must name one of ${listed(names)}`, { param: "model", code: "invalid_value" });
  if (!names.includes(given)) throw noModel(given, names);
  return given;
}

/** `GET /v1/models` */
export function listModels(models: Models, created: number): object {
  return { object: "list", data: namesOf(models).map((id) => described(id, created)) };
}

/** `GET /v1/models/{name}`. @throws ApiError 404 */
export function oneModel(models: Models, name: string, created: number): object {
  const names = namesOf(models);
  if (!names.includes(name)) throw noModel(name, names);
  return described(name, created);
}

const namesOf = (models: Models): string[] => models.states().map(({ name }) => name);

/** `created`: seconds since 1970 */
function described(id: string, created: number): object {
  return { id, object: "model", created, owned_by: "bitnet-ts" };
}

function noModel(name: string, names: readonly string[]): ApiError {
  const message = `there is no model ${JSON.stringify(name.slice(0, 100))} here: there is ${listed(names)}`;
  return new ApiError(404, message, { param: "model", code: "model_not_found" });
}

function listed(names: readonly string[]): string {
  return names.map((name) => JSON.stringify(name)).join(", ");
}
