/** Each string stands behind its length, a little-endian u64. */
const LENGTH_BYTES = 8;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A list of strings as GGUF has it: bytes, of which only what is asked for becomes JavaScript strings. A vocabulary has hundreds of thousands
 * of them, and a tokenizer can do with the bytes.
 */
export class StringList implements Iterable<string> {
  readonly length: number;

  /** Takes bytes that are checked: lengths that end where `bytes` does, and UTF-8 between. */
  constructor(
    /** All of it: each string's length (u64, little-endian), then its UTF-8. */
    readonly bytes: Uint8Array,
    /** [length + 1] Where in `bytes` each string begins, behind its length; the last: where one more would. */
    readonly starts: Int32Array,
    private readonly given?: readonly string[],
  ) {
    this.length = starts.length - 1;
  }

  /** The same of strings in memory. Half a character, which UTF-8 doesn't have, is U+FFFD in the bytes and itself in `at`. */
  static from(strings: readonly string[]): StringList {
    const starts = new Int32Array(strings.length + 1);
    const units = strings.reduce((sum, text) => sum + text.length, 0);
    const bytes = new Uint8Array(LENGTH_BYTES * strings.length + 3 * units); // a UTF-16 unit is 3 bytes at most
    const view = new DataView(bytes.buffer);
    const encoder = new TextEncoder();
    let at = LENGTH_BYTES;
    for (let i = 0; i < strings.length; i++) {
      const text = strings[i]!;
      const start = at;
      starts[i] = start;
      let done = 0;
      // An encoder's call costs more than a token's characters, and most are these.
      for (; done < text.length; done++) {
        const code = text.charCodeAt(done);
        if (code >= 0x800) break;
        if (code >= 0x80) bytes[at++] = 0xc0 | (code >> 6);
        bytes[at++] = code < 0x80 ? code : 0x80 | (code & 63);
      }
      if (done < text.length) at += encoder.encodeInto(text.slice(done), bytes.subarray(at)).written;
      view.setUint32(start - LENGTH_BYTES, at - start, true);
      at += LENGTH_BYTES;
    }
    starts[strings.length] = at;
    return new StringList(bytes.subarray(0, at - LENGTH_BYTES), starts, strings);
  }

  /** Where in `bytes` a string ends. */
  endOf(index: number): number {
    return this.starts[index + 1]! - LENGTH_BYTES;
  }

  /** The string at an index from 0 to `length` − 1; undefined elsewhere. */
  at(index: number): string | undefined {
    if (!(index >= 0 && index < this.length)) return undefined;
    return this.given ? this.given[index] : utf8.decode(this.bytes.subarray(this.starts[index], this.endOf(index)));
  }

  *[Symbol.iterator](): Iterator<string> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }

  /** As JSON has it, for messages. */
  toJSON(): string[] {
    return [...this];
  }
}
