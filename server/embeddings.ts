import type { JsonObject } from "./body.js";
import { badField, toApiError } from "./errors.js";
import { checkFields, field, oneOf } from "./fields.js";
import type { ServedModel } from "./models.js";

const FIELDS: ReadonlySet<string> = new Set(["model", "input", "encoding_format"]);

/** Texts of one request: OpenAI's limit. */
const MOST_TEXTS = 2048;

/** Texts that are at work at a time: few, so that a long list does not fill the queue by itself. */
const AT_ONCE = 8;

/** `POST /v1/embeddings`: a vector of length 1 of each text, pooled as the model's file states. @throws ApiError */
export async function embeddings(name: string, model: ServedModel, body: JsonObject, signal: AbortSignal): Promise<object> {
  checkFields(body, FIELDS);
  const format = field(body, "encoding_format", oneOf("float", "base64")) ?? "float";
  const texts = typeof body.input === "string" ? [body.input] : body.input;
  if (!isTexts(texts)) throw badField("input", `a string, or a list of 1 to ${MOST_TEXTS} strings (token ids are not supported yet)`);
  const data: object[] = [];
  let tokens = 0;
  try {
    for (let first = 0; first < texts.length; first += AT_ONCE) {
      const part = texts.slice(first, first + AT_ONCE);
      for (const vector of await model.embed(part, { signal })) {
        data.push({ object: "embedding", index: data.length, embedding: format === "base64" ? base64(vector) : numbers(vector) });
      }
      for (const text of part) tokens += model.tokenizer.encode(text).length + (model.tokenizer.addsEos ? 1 : 0);
    }
  } catch (error) {
    throw toApiError(error, "input", name);
  }
  return { object: "list", data, model: name, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length > 0 && value.length <= MOST_TEXTS && value.every((text) => typeof text === "string");
}

/** Nine digits tell every f32 from its neighbours. */
const numbers = (vector: Float32Array): number[] => Array.from(vector, (value) => Number(value.toPrecision(9)));

/** Little-endian f32, as every machine that runs WebAssembly has them. */
const base64 = ({ buffer, byteOffset, byteLength }: Float32Array): string => Buffer.from(buffer, byteOffset, byteLength).toString("base64");
