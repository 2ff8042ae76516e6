import type { Model } from "../engine/index.js";
import type { JsonObject } from "./body.js";
import { ApiError } from "./errors.js";
import { field, TEXT } from "./fields.js";

/** What is used of a model. */
export type ServedModel = Pick<Model, "generate" | "chat" | "embed" | "tokenizer" | "chatTemplate" | "contextLength" | "stats">;
/** Models by the names that clients call them. */
export type Models = ReadonlyMap<string, ServedModel>;

/** The model that a request names, or the only one there is. @throws ApiError 404: there is none of that name */
export function modelOf(models: Models, body: JsonObject): [name: string, model: ServedModel] {
  const name = field(body, "model", TEXT);
  const [only] = models;
  if (name === undefined && only && models.size === 1) return only;
  if (name === undefined) throw new ApiError(400, `model must name one of ${listed(models)}`, { param: "model", code: "invalid_value" });
  const model = models.get(name);
  if (!model) throw noModel(name, models);
  return [name, model];
}

/** `GET /v1/models` */
export function listModels(models: Models, created: number): object {
  return { object: "list", data: [...models.keys()].map((id) => described(id, created)) };
}

/** `GET /v1/models/{name}`. @throws ApiError 404 */
export function oneModel(models: Models, name: string, created: number): object {
  if (!models.has(name)) throw noModel(name, models);
  return described(name, created);
}

/** `created`: seconds since 1970 */
function described(id: string, created: number): object {
  return { id, object: "model", created, owned_by: "bitnet-ts" };
}

function noModel(name: string, models: Models): ApiError {
  const message = `there is no model ${JSON.stringify(name.slice(0, 100))} here: there is ${listed(models)}`;
  return new ApiError(404, message, { param: "model", code: "model_not_found" });
}

function listed(models: Models): string {
  return [...models.keys()].map((name) => JSON.stringify(name)).join(", ");
}
