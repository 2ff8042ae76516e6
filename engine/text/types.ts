/** How text becomes token ids; see `EncodeOptions`. */
export interface EncodeOptions {
  /** Put the BOS token first, where the model's tokenizer does so (`Tokenizer.addsBos`). Default true. */
  readonly bos?: boolean;
  /** Recognise special tokens such as `<|eot_id|>` written in the text. Default true. */
  readonly special?: boolean;
  /**
   * Stretches [start, end) of the text, in UTF-16 units, ascending and disjoint, in which special tokens are not recognised: one is only where none of its
   * characters lies in such a stretch. Tokens that are added but not special (runs of spaces, `<think>`) are recognised there, too, and text is
   * tokenised across a stretch's borders as if they weren't there.
   */
  readonly literal?: readonly (readonly [start: number, end: number])[] | undefined;
  /**
   * The id of the token that the text goes on from; left out at the beginning of a text. A tokenizer that puts a space before a text
   * (SentencePiece) does so there, and not in the middle.
   */
  readonly after?: number | undefined;
}

/** How token ids become text. */
export interface DecodeOptions {
  /** Write special tokens out. */
  readonly special?: boolean;
  /** As in `EncodeOptions`: the space that was put before a text is taken away again. */
  readonly after?: number | undefined;
}

/** Turns a stream of token ids into text: what is not yet a whole UTF-8 character waits. */
export interface TokenDecoder {
  /** The text that became certain with this token; "" while it ends inside a character. Special tokens give "" unless asked for. */
  push(id: number): string;
  /** What is left: U+FFFD for a character that never got whole. */
  end(): string;
}

/**
 * Text (or any bytes) to ids and back. Nothing is lost, but for what the model's own tokenizer loses: some bring text to a normal form first
 * (Qwen's: NFC), and SentencePiece does not tell "▁" (U+2581) from a space.
 */
export interface Tokenizer {
  /** Where it came from: "tokenizer.json" or "gguf". */
  readonly source: string;
  /** Number of ids, special ones included. */
  readonly size: number;
  readonly bosId: number | undefined;
  /** The file's own end-of-text ids; generation's stop ids are chosen elsewhere from more sources. */
  readonly eosIds: readonly number[];
  /** Further ends that the file names, of a turn or a message. */
  readonly endIds: readonly number[];
  /** What the file doesn't say about the tokenizer and was assumed, each a sentence for the user. */
  readonly notes: readonly string[];
  /** Whether `encode` puts BOS first. */
  readonly addsBos: boolean;
  /** Whether a text that is embedded ends with the EOS token. `encode` never adds it. */
  readonly addsEos: boolean;
  /** Bytes of the longest token, at most. */
  readonly longestToken: number;
  /** text → ids. A lone surrogate becomes U+FFFD, as in UTF-8. Throws a usage error for `literal` ranges that are not ascending stretches of the text. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Any bytes → ids; those that are not UTF-8 as single-byte tokens. */
  encodeBytes(bytes: Uint8Array, options?: Omit<EncodeOptions, "literal">): number[];
  /** ids → text; special tokens are written out unless `special` is false. Throws a usage error for an id that is not in the vocabulary. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** ids → the very bytes. */
  decodeBytes(ids: readonly number[], options?: DecodeOptions): Uint8Array;
  /** A decoder for one stream; `special` false by default here: a reader of a stream wants no `<|eot_id|>`. */
  decoder(options?: DecodeOptions): TokenDecoder;
  /** Id of a token by its exact text, special or not; undefined if there is none. */
  idOf(token: string): number | undefined;
  /** The token's text for a list: its characters, U+FFFD for parts of one. */
  textOf(id: number): string;
  isSpecial(id: number): boolean;
}

/** Text in a message that is made of parts; parts of other kinds (images, sound) are refused. */
export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/** A call that the assistant made, as OpenAI's API writes it; `arguments` as JSON or as the object itself. */
export interface ToolCall {
  readonly id?: string;
  readonly type?: string;
  readonly function: { readonly name: string; readonly arguments?: string | object };
}

/** One message of a conversation, as OpenAI's API writes it. What else it has is passed on to the template. */
export interface ChatMessage {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool" | (string & {});
  /** May be missing or null where there are tool calls. */
  readonly content?: string | readonly TextPart[] | null;
  readonly tool_calls?: readonly ToolCall[] | null;
  /** The call that a tool answers. */
  readonly tool_call_id?: string | null;
  readonly name?: string | null;
  /** What the assistant thought before it answered. */
  readonly reasoning_content?: string | null;
  readonly [key: string]: unknown;
}

/** How a conversation is written. */
export interface ChatRenderOptions {
  /** Open the answer's turn behind the last message. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Leave the last message, the assistant's, open: its text is the beginning of the answer. Default false. */
  readonly continueFinalMessage?: boolean;
  /** Variables of the template besides the messages, as JSON data: `tools`, `documents`, `enable_thinking` and whatever else it knows. */
  readonly template?: Readonly<Record<string, unknown>>;
  /** The conversation's date, for templates that write it: a Date (its local time), or text such as 2025-07-31 or 2025-07-31T12:00. */
  readonly date?: Date | string;
}

/** A conversation as text, and which parts of it are the caller's words: there, control tokens are only text. */
export interface RenderedChat {
  readonly text: string;
  /** [start, end) in UTF-16 units, ascending and disjoint: `EncodeOptions.literal`. */
  readonly literal: readonly (readonly [start: number, end: number])[];
}

/** The model's own way of writing a conversation as one text. */
export interface ChatTemplate {
  /** The Jinja source: as the file has it, or what replaces it (see `notes`). */
  readonly source: string;
  /** What was done about the file's template, each a sentence for the user. */
  readonly notes: readonly string[];
  /** The conversation as text, special tokens (BOS too) written out. To encode it, use `encodeChat`: it keeps the messages' text from being read as special tokens. */
  render(messages: readonly ChatMessage[], options?: ChatRenderOptions): Promise<string>;
  /** The same, with the parts that are the caller's. `maxLength`: UTF-16 units that the text may have. */
  compose(messages: readonly ChatMessage[], options?: ChatRenderOptions & { readonly maxLength?: number }): RenderedChat;
}
