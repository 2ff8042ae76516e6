import { PassThrough, Writable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { expect, it } from "vitest";
import { LineEditor } from "./line-editor.js";

/** A terminal of a test: what is typed, what is shown, and whether it is raw. */
function terminal() {
  let shown = "";
  const raw: boolean[] = [];
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (mode: boolean) => raw.push(mode) });
  const write = (text: unknown, _: unknown, done: () => void): void => {
    shown += String(text);
    done();
  };
  const output = Object.assign(new Writable({ decodeStrings: false, write }), { isTTY: true, columns: 80, rows: 24 });
  const interrupts: number[] = [];
  const editor = new LineEditor(
    input as unknown as NodeJS.ReadStream,
    output as unknown as NodeJS.WriteStream,
    () => void interrupts.push(shown.length),
  );
  /** Types, and waits until it has arrived. */
  const type = async (...chunks: string[]): Promise<void> => {
    for (const chunk of chunks) {
      input.write(chunk);
      await wait(1);
    }
  };
  const take = (): string => {
    const text = shown;
    shown = "";
    return text;
  };
  return { editor, type, take, raw, interrupts };
}

it("gives what is typed a line at a time, and pasted lines as one message", async () => {
  const { editor, type, take } = terminal();
  const first = editor.read();
  await type("h", "i", "\r");
  expect(await first).toBe("hi");
  const second = editor.read();
  await type("see: ", "\x1b[200~one\r\ntwo\x1b[201~", "!", "\r");
  expect(await second).toBe("see: one\ntwo!");
  expect(take()).toContain("one↵two");
  const third = editor.read();
  await type("\x1b[A", "\x7f", "\r"); // the last message again, but for its end
  expect(await third).toBe("see: one\ntwo");
  const fourth = editor.read();
  await type("a\rb\r"); // from a terminal that marks no pastes
  expect(await fourth).toBe("a\nb");
  editor.close();
});

it("shows nothing of what is typed between two messages, and has it for the next ones", async () => {
  const { editor, type, take, interrupts } = terminal();
  const first = editor.read();
  await type("go\r");
  expect(await first).toBe("go");
  take();
  await type("a", "b", "\r", "c");
  expect(take()).toBe("");
  expect(await editor.read()).toBe("ab");
  const next = editor.read();
  await type("d", "\r");
  expect(await next).toBe("cd");
  await type("lost", "\x03", "kept\r");
  expect(interrupts).toHaveLength(1);
  expect(await editor.read()).toBe("kept");
  editor.close();
});

it("clears a line at Ctrl-C, asks on an empty one, and leaves when asked again", async () => {
  const { editor, type, take, raw, interrupts } = terminal();
  const message = editor.read();
  await type("some text", "\x03", "other", "\r");
  expect(await message).toBe("other");
  const last = editor.read();
  const asks = /press Ctrl-C again/;
  await type("\x03");
  expect(take()).toMatch(asks);
  await type("x", "\x7f", "\x03");
  expect(take()).toMatch(asks);
  await type("\x03");
  expect(await last).toBeUndefined();
  expect([editor.interrupted, interrupts.length, raw.at(0), raw.at(-1)]).toEqual([true, 0, true, false]);
  expect(take()).toContain("\x1b[?2004l");
  expect(await editor.read()).toBeUndefined();
});

it("ends at Ctrl-D, and at the end of its input, without an interrupt", async () => {
  const { editor, type } = terminal();
  const message = editor.read();
  await type("\x04");
  expect(await message).toBeUndefined();
  expect(editor.interrupted).toBe(false);
});
