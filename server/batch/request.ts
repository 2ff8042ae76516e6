import type { JsonObject } from "../body.js";
import { OBJECT } from "../fields.js";
import type { Line } from "./lines.js";

/** Addresses that a batch may ask. */
const URLS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"] as const;
type Url = (typeof URLS)[number];

/** Bytes of a line: the server's limit for a body, and room for what is around it. */
export const MAX_LINE_BYTES = 8 * 2 ** 20 + 2 ** 16;

/** UTF-16 units of a `custom_id`: enough for any name or hash, and few enough that results are found by their first bytes. */
const MAX_ID_LENGTH = 512;

/** One line of a batch. */
export interface BatchLine {
  /** Of the line's bytes: the same line has the same id in every file. */
  readonly id: string;
  /** null: the line has none. */
  readonly customId: string | null;
  /** The line as it was read; empty if it is too long. */
  readonly text: string;
  readonly request: { readonly url: Url; readonly body: JsonObject } | LineError;
}

/** Why a line can't be answered. */
export interface LineError {
  readonly code: string;
  readonly message: string;
}

/** Letters of an id that are random elsewhere, and a hash here. */
export const ID_LENGTH = 32;

/** Reads a line of a batch. What is wrong with it is part of what is read. */
export function readBatchLine({ bytes, length, digest }: Pick<Line, "bytes" | "length" | "digest">): BatchLine {
  const id = `batch_req_${digest.slice(0, ID_LENGTH)}`;
  const invalid = (message: string, customId: string | null = null, text = ""): BatchLine => ({
    id,
    customId,
    text,
    request: { code: "invalid_line", message },
  });
  if (length > MAX_LINE_BYTES) return invalid(`the line has more than ${MAX_LINE_BYTES} bytes, which is the limit`);
  let text: string;
  let line: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes); // all of it: a worker hashes it again
    line = JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    return invalid("the line is not valid JSON in UTF-8");
  }
  if (!OBJECT.holds(line)) return invalid("the line must be a JSON object with custom_id, method, url and body");
  const { custom_id: customId, method, url, body } = line;
  if (typeof customId !== "string" || customId === "" || customId.length > MAX_ID_LENGTH) {
    return invalid(`custom_id must be a string of 1 to ${MAX_ID_LENGTH} characters`);
  }
  if (method !== "POST") return invalid('method must be "POST"', customId, text);
  const known = URLS.find((one) => one === url);
  if (!known) return invalid(`url must be one of ${URLS.join(", ")}`, customId, text);
  if (!OBJECT.holds(body)) return invalid("body must be an object", customId, text);
  if (body.stream === true) return invalid("stream can't be true in a batch: leave it out", customId, text);
  return { id, customId, text, request: { url: known, body } };
}

/** A line's first bytes in the results, up to the status of the response. */
function beginning({ id, customId }: BatchLine): string {
  return `{"id":${JSON.stringify(id)},"custom_id":${JSON.stringify(customId)},"response":`;
}

const ANSWERED = '{"status_code":200,';

/** Bytes by which a result is known: more than `beginning` and a status ever have, each unit of an id being up to six bytes. */
export const HEAD_BYTES = 6 * MAX_ID_LENGTH + 256;

/** A line of the results, without its line end. */
export function resultLine(line: BatchLine, response: { status: number; requestId: string; body: unknown } | LineError): string {
  const [answer, error] =
    "status" in response
      ? [{ status_code: response.status, request_id: response.requestId, body: response.body }, null]
      : [null, { code: response.code, message: response.message }];
  return `${beginning(line)}${JSON.stringify(answer)},"error":${JSON.stringify(error)}}`;
}

/** Whether a result, of which the first bytes are given, is this line's, and whether the request was answered with status 200. */
export function matchResult(line: BatchLine, head: string): "answered" | "error" | "other" {
  const start = beginning(line);
  if (!head.startsWith(start)) return "other";
  return head.startsWith(ANSWERED, start.length) ? "answered" : "error";
}
