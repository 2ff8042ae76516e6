import { expect, it } from "vitest";
import { PasteSplitter } from "./paste.js";

/** What comes of these chunks: keys as they are, pastes in brackets. */
function typed(...chunks: string[]): string[] {
  const splitter = new PasteSplitter();
  return chunks.flatMap((chunk) => splitter.push(chunk)).map(({ kind, text }) => (kind === "keys" ? text : `<${text}>`));
}

it("leaves keys alone, each Enter for itself", () => {
  expect(typed("a", "b", "\r")).toEqual(["a", "b", "\r"]);
  expect(typed("hello\r")).toEqual(["hello", "\r"]);
  expect(typed("\r\r", "\r\n")).toEqual(["\r", "\r", "\r"]);
  expect(typed("\x1b", "\x1b[A", "\x03", "é")).toEqual(["\x1b", "\x1b[A", "\x03", "é"]);
});

it("takes what is between the terminal's marks as one text, however it is cut", () => {
  const marked = "x\x1b[200~one\rtwo\r\nthree\x1b[201~\r";
  const wanted = ["x", "<one\ntwo\nthree>", "\r"];
  expect(typed(marked)).toEqual(wanted);
  for (let at = 1; at < marked.length; at++) {
    if (at === 2) continue; // between Escape and the rest: Escape is a key
    expect(typed(marked.slice(0, at), marked.slice(at)), `cut at ${at}`).toEqual(wanted);
  }
  expect(typed("\x1b[200~a", "b", "c\x1b[201~")).toEqual(["<abc>"]);
});

it("takes lines that come at once for a paste, where the terminal marks none", () => {
  expect(typed("one\rtwo\r")).toEqual(["<one\ntwo>", "\r"]);
  expect(typed("one\ntwo")).toEqual(["<one\ntwo>"]);
  const long = `${"x".repeat(1023)}\r`; // a full buffer, whose end is not the paste's
  expect(typed(long, "two\r")).toEqual([`<${long.replace("\r", "\n")}>`, "two", "\r"]);
});

it("leaves out what would steer the editor or the terminal", () => {
  expect(typed("\x1b[200~a\x1b[2J\x07\x03\x9bb\tc\u2028d\x1b[201~")).toEqual(["<a[2Jb\tc\nd>"]);
});
