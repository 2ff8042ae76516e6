import { BitnetError } from "../../engine/errors.js";
import type { Handler } from "../handler.js";
import { settled } from "./reproducible.js";
import { type BatchLine, ID_LENGTH, resultLine } from "./request.js";

/** Digits of the hash that seeds are made of: 48 bits, as seeds may have 53. */
const SEED_DIGITS = 12;

/**
 * The line of the results for a line of a batch: the same bytes whoever computes it, whenever, after whatever else. A request without a seed has
 * one made of its line.
 * @throws BitnetError internal: the model can't answer any more, and the request may be answered by another
 */
export async function answerLine(handler: Handler, line: BatchLine): Promise<string> {
  const { request } = line;
  if ("code" in request) return resultLine(line, request);
  const digits = line.id.slice(-ID_LENGTH);
  const takesSeed = request.url !== "/v1/embeddings" && (request.body.seed ?? null) === null;
  const body = takesSeed ? { ...request.body, seed: Number.parseInt(digits.slice(0, SEED_DIGITS), 16) } : request.body;
  const requestId = `req_${digits}`;
  const response = await handler(
    new Request(`http://localhost${request.url}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": requestId },
      body: JSON.stringify(body),
    }),
  );
  const said: unknown = await response.json();
  const { status } = response;
  if (status >= 500 && (await handler(new Request("http://localhost/health"))).status !== 200) {
    throw new BitnetError(
      "internal",
      "the model failed and can't answer any more: run the same command again, which goes on where this ended",
    );
  }
  return resultLine(line, { status, requestId, body: settled(said, digits) });
}
