import { ApiError } from "./errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

/** How many times the limit is read and thrown away before a client that sends too much is answered: one that still writes hears no answer. */
const DISCARDED = 4;

/**
 * The JSON object in a request's body.
 * @param most bytes that it may have
 * @throws ApiError 400, 413, 415
 */
export async function readBody(request: Request, most: number): Promise<JsonObject> {
  // A page of another site can send any other type without asking first.
  const type = /^[^;\s]*/.exec(request.headers.get("content-type") ?? "")![0].toLowerCase();
  if (type !== "application/json") throw new ApiError(415, "the request's content-type must be application/json");
  const bytes = await readBytes(request, most);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError(400, "the request's body is not valid JSON in UTF-8", { code: "invalid_json" });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ApiError(400, "the request's body must be a JSON object", { code: "invalid_json" });
  }
  return value as JsonObject;
}

async function readBytes(request: Request, most: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = request.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read().catch(() => {
      throw new ApiError(400, "the request ended before its body was complete");
    });
    if (done) break;
    length += value.length;
    if (length <= most) parts.push(value);
    else if (length > DISCARDED * most) {
      await reader.cancel().catch(() => {}); // the request is refused in any case
      break;
    }
  }
  if (length > most) throw new ApiError(413, `the request's body has more than ${most} bytes, which is the limit`, { code: "too_large" });
  return Buffer.concat(parts);
}
