import { createInterface, type Interface } from "node:readline";
import { PassThrough, Writable } from "node:stream";
import { PasteSplitter, type Typed } from "./paste.js";
import { style } from "./terminal.js";

/** Stands for a line end inside a message while it is edited: a code point that no text has. */
const LINE_END = "\ufdd0";
/** What is shown for it. */
const SHOWN = "↵";

/** Asks the terminal to mark what is pasted, and to stop. */
const MARK_PASTES = "\x1b[?2004h";
const NO_MARKS = "\x1b[?2004l";

const LEAVE = "(press Ctrl-C again or type /exit to leave)";

/**
 * Messages from a terminal, one at a time: Node's readline, with pasted lines as one message. The terminal is in raw mode from the first to
 * the last, so that nothing is echoed between two messages; what is typed there is kept for the next one.
 */
export class LineEditor {
  readonly #input: NodeJS.ReadStream;
  readonly #output: NodeJS.WriteStream;
  readonly #onInterrupt: () => void;
  /** What readline reads: keys, when it is their time. */
  readonly #keys = new PassThrough();
  readonly #readline: Interface;
  readonly #splitter = new PasteSplitter();
  /** Typed, and not edited in yet. */
  #waiting: Typed[] = [];
  #resolve: ((message: string | undefined) => void) | undefined;
  #askedToLeave = false;
  #closed = false;
  /** Left by Ctrl-C. */
  interrupted = false;

  /** `onInterrupt` hears of Ctrl-C between two messages. */
  constructor(input: NodeJS.ReadStream, output: NodeJS.WriteStream, onInterrupt: () => void) {
    this.#input = input;
    this.#output = output;
    this.#onInterrupt = onInterrupt;
    // readline's own switch of the mode, for Ctrl-Z and for the end.
    const setRawMode = (mode: boolean): unknown => input.setRawMode(mode);
    this.#readline = createInterface({
      input: Object.assign(this.#keys, { setRawMode }),
      output: this.#screen(),
      prompt: "> ",
      terminal: true,
    });
    this.#readline.on("line", (line) => this.#message(line.replaceAll(LINE_END, "\n")));
    this.#readline.on("SIGINT", () => this.#interrupt());
    this.#readline.on("close", () => this.close());
    this.#readline.on("SIGCONT", () => {
      this.#write(MARK_PASTES);
      this.#readline.prompt(true);
    });
    input.setEncoding("utf8").on("data", this.#onData).once("end", this.#onEnd).resume();
    process.once("exit", this.#restore);
    this.#write(MARK_PASTES);
  }

  /** The next message; undefined when there is none any more. */
  async read(): Promise<string | undefined> {
    if (this.#closed) return undefined;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#askedToLeave = false;
      this.#readline.prompt();
      this.#edit();
    });
  }

  /** Gives the terminal back. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#input.off("data", this.#onData).off("end", this.#onEnd).pause();
    this.#readline.close();
    this.#restore();
    process.off("exit", this.#restore);
    if (this.#resolve) this.#write("\n"); // the line of the prompt is begun
    this.#message(undefined);
  }

  readonly #onData = (chunk: string): void => {
    if (!this.#resolve && chunk.includes("\x03")) {
      this.#waiting = [];
      this.#onInterrupt();
      return;
    }
    this.#waiting.push(...this.#splitter.push(chunk));
    this.#edit();
  };

  readonly #onEnd = (): void => this.close();

  readonly #restore = (): void => this.#write(NO_MARKS);

  /** Hands on what was typed, as far as it belongs to the message that is asked for. */
  #edit(): void {
    while (this.#resolve && this.#waiting.length > 0) {
      const { kind, text } = this.#waiting.shift()!;
      if (text !== "\x03") this.#askedToLeave = false;
      if (kind === "keys")
        this.#keys.emit("data", text); // not written: a stream would hand it on later, behind a paste
      else this.#readline.write(text.replaceAll("\n", LINE_END));
    }
  }

  #message(message: string | undefined): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(message);
  }

  /** Ctrl-C: clears the line. On an empty one it asks, and then leaves. */
  #interrupt(): void {
    if (this.#readline.line !== "") {
      this.#readline.write(null, { ctrl: true, name: "e" });
      this.#readline.write(null, { ctrl: true, name: "u" });
    } else if (this.#askedToLeave) {
      this.interrupted = true;
      this.close();
    } else {
      this.#askedToLeave = true;
      this.#write(`\n${style("dim", LEAVE, this.#output)}\n`);
      this.#readline.prompt();
    }
  }

  #write(text: string): void {
    this.#output.write(text);
  }

  /** The terminal as readline is to see it, which counts columns: a line end is one. */
  #screen(): Writable {
    const output = this.#output;
    const write = (text: unknown, _encoding: unknown, done: () => void): void => {
      output.write(String(text).replaceAll(LINE_END, SHOWN));
      done();
    };
    const screen = new Writable({ decodeStrings: false, write });
    Object.defineProperties(screen, { columns: { get: () => output.columns }, rows: { get: () => output.rows }, isTTY: { value: true } });
    output.on("resize", () => screen.emit("resize"));
    return screen;
  }
}
