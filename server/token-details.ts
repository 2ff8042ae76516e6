import type { GenerationResult, LogProbability, TokenDecoder, Tokenizer, TokenLogprob } from "../engine/index.js";

/** How an endpoint writes the logprobs of tokens. */
export type LogprobsForm = (tokens: readonly TokenLogprob[], texts: TokenTexts) => object;

/** What is said of tokens beside the text. */
export interface DetailsAsked {
  /** undefined: no logprobs were asked for. */
  readonly logprobs: LogprobsForm | undefined;
  /** Ids of the answers' tokens and of the prompt's. */
  readonly tokenIds: boolean;
  /** Whether the prompt's ids stand beside the choices or in each of them. */
  readonly promptIn: "body" | "choice";
}

/** What JSON can say of a probability of 0: as OpenAI's API does. */
const LEAST_LOGPROB = -9999;

const logprobOf = ({ logprob }: LogProbability): number => Math.max(logprob, LEAST_LOGPROB);

/** Texts and bytes of an answer's tokens, and where they are in its text. */
export class TokenTexts {
  readonly #tokenizer: Tokenizer;
  #decoder: TokenDecoder | undefined;
  #length = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  textOf(id: number): string {
    return this.#tokenizer.textOf(id);
  }

  bytesOf(id: number): number[] {
    return [...this.#tokenizer.decodeBytes([id], { after: id })]; // as `textOf`
  }

  /** A text that is no other token's: of a part of a character, which has none, its bytes as OpenAI's API writes them. */
  nameOf(id: number): string {
    const text = this.textOf(id);
    const bytes = this.bytesOf(id);
    if (!text.includes("\ufffd") || Buffer.from(text).equals(Buffer.from(bytes))) return text;
    return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }

  /** Where the next token begins in the answer's text, in Unicode characters. Called once for each of its tokens, in order. */
  offsetOf(id: number): number {
    this.#decoder ??= this.#tokenizer.decoder({ after: id });
    const offset = this.#length;
    for (const _ of this.#decoder.push(id)) this.#length++;
    return offset;
  }
}

/** Of chat: `{ content: [{ token, logprob, bytes, top_logprobs }] }` */
export const chatLogprobs: LogprobsForm = (tokens, texts) => {
  const described = (one: LogProbability): object => ({
    token: texts.textOf(one.id),
    logprob: logprobOf(one),
    bytes: texts.bytesOf(one.id),
  });
  return { content: tokens.map((token) => ({ ...described(token), top_logprobs: token.top.map(described) })), refusal: null };
};

/** Of completions: lists side by side. The chosen token is among its alternatives, too. */
export const completionLogprobs: LogprobsForm = (tokens, texts) => ({
  text_offset: tokens.map(({ id }) => texts.offsetOf(id)),
  tokens: tokens.map(({ id }) => texts.nameOf(id)),
  token_logprobs: tokens.map(logprobOf),
  top_logprobs: tokens.map((token) => {
    const alternatives = new Map<string, number>();
    for (const one of token.top) {
      const name = texts.nameOf(one.id);
      if (!alternatives.has(name)) alternatives.set(name, logprobOf(one)); // of two with the same text the likelier
    }
    alternatives.set(texts.nameOf(token.id), logprobOf(token));
    return Object.fromEntries(alternatives);
  }),
});

/** Collects the tokens of a request's answers, and says of them what was asked for. */
export class TokenDetails {
  readonly #asked: DetailsAsked;
  readonly #tokenizer: Tokenizer;
  /** By the number of the answer. */
  readonly #answers = new Map<number, { readonly texts: TokenTexts; ids: number[]; logprobs: TokenLogprob[] }>();

  constructor(tokenizer: Tokenizer, asked: DetailsAsked) {
    this.#tokenizer = tokenizer;
    this.#asked = asked;
  }

  /** Notes tokens of an answer. */
  add(index: number, { ids, logprobs = [] }: Pick<GenerationResult, "ids" | "logprobs">): void {
    const answer = this.#answer(index);
    answer.ids.push(...ids);
    answer.logprobs.push(...logprobs);
  }

  /** Fields of a choice: of the answer's tokens that were noted since the last call. */
  take(index: number): object {
    const answer = this.#answer(index);
    const { texts, ids, logprobs } = answer;
    answer.ids = [];
    answer.logprobs = [];
    return {
      ...(this.#asked.logprobs && { logprobs: logprobs.length === 0 ? null : this.#asked.logprobs(logprobs, texts) }),
      ...(this.#asked.tokenIds && { token_ids: ids }),
    };
  }

  /** The prompt's ids, as fields of this part of a response; none where they stand in the other. */
  prompt(part: DetailsAsked["promptIn"], { promptIds }: GenerationResult): object {
    return this.#asked.tokenIds && this.#asked.promptIn === part ? { prompt_token_ids: promptIds } : {};
  }

  #answer(index: number): { readonly texts: TokenTexts; ids: number[]; logprobs: TokenLogprob[] } {
    let answer = this.#answers.get(index);
    if (!answer) {
      answer = { texts: new TokenTexts(this.#tokenizer), ids: [], logprobs: [] };
      this.#answers.set(index, answer);
    }
    return answer;
  }
}
