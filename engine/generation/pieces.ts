import type { TokenLogprob } from "../sampling/types.js";
import type { TokenDecoder, Tokenizer } from "../text/types.js";
import { StopText } from "./stop-text.js";
import type { GenerationPiece } from "./types.js";

/** A character of UTF-8 has at most so many bytes before its last. */
const MOST_BEFORE_LAST = 3;

/** Makes pieces of an answer's tokens: text that is certain, and the tokens whose text is then complete. */
export class PieceWriter {
  readonly #tokenizer: Tokenizer;
  readonly #decoder: TokenDecoder;
  readonly #stop: StopText;
  readonly #shows: ((id: number) => boolean) | undefined;
  /** Tokens that are in no piece yet, and how much of the text must be out, in UTF-16 units, for each to be complete. */
  readonly #waiting: { readonly id: number; readonly logprobs: TokenLogprob | undefined; readonly end: number }[] = [];
  /** The last bytes. */
  #tail: readonly number[] = [];
  /** UTF-16 units decoded, those of them that are out, and tokens that are. */
  #decoded = 0;
  #written = 0;
  #told = 0;

  /** @param after the prompt's last token @param stop texts that end the answer @param shows special tokens that are text of it */
  constructor(tokenizer: Tokenizer, after: number | undefined, stop: readonly string[], shows?: (id: number) => boolean) {
    this.#tokenizer = tokenizer;
    this.#decoder = tokenizer.decoder({ after });
    this.#stop = new StopText(stop);
    this.#shows = shows;
  }

  /** Whether a stop text was found: nothing more is wanted. */
  get stopped(): boolean {
    return this.#stop.stopped;
  }

  /** The piece that became certain with this token; undefined: all waits. */
  push(id: number, logprobs: TokenLogprob | undefined): GenerationPiece | undefined {
    const text = this.#decoder.push(id) + (this.#shows?.(id) ? this.#tokenizer.textOf(id) : "");
    this.#decoded += text.length;
    this.#waiting.push({ id, logprobs, end: this.#decoded + (this.#isMidway(id) ? 1 : 0) });
    const certain = this.#stop.push(text);
    if (certain === "") return undefined;
    this.#written += certain.length;
    const left = this.#waiting.findIndex(({ end }) => end > this.#written);
    const told = this.#waiting.splice(0, left < 0 ? this.#waiting.length : left);
    this.#told += told.length;
    return {
      text: certain,
      ids: told.map((token) => token.id),
      ...(logprobs && { logprobs: told.map((token) => token.logprobs!) }),
    };
  }

  /** What is left when the answer has ended; undefined: nothing. @param ids all tokens of the answer @param logprobs of each; undefined: not asked for */
  end(ids: readonly number[], logprobs: readonly TokenLogprob[] | undefined): GenerationPiece | undefined {
    const text = this.#stop.push(this.#decoder.end()) + this.#stop.end();
    const rest = ids.slice(this.#told);
    if (text === "" && rest.length === 0) return undefined;
    return { text, ids: rest, ...(logprobs && { logprobs: logprobs.slice(this.#told) }) };
  }

  /** Whether the text so far ends inside a character. */
  #isMidway(id: number): boolean {
    const bytes = this.#tokenizer.decodeBytes([id], { special: false, after: id });
    this.#tail = [...this.#tail, ...bytes.subarray(-MOST_BEFORE_LAST)].slice(-MOST_BEFORE_LAST);
    const lead = this.#tail.findLastIndex((byte) => byte < 0x80 || byte >= 0xc0);
    if (lead < 0) return false;
    const byte = this.#tail[lead]!;
    return byte >= 0xc0 && this.#tail.length - lead < (byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4);
  }
}
