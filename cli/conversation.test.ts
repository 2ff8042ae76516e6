import { expect, it } from "vitest";
import type { ChatMessage, Generation } from "../engine/index.js";
import { Conversation, type Speaker } from "./conversation.js";

/** A model that counts a token for each character, and remembers what it was asked. */
function speaker(contextLength: number): Speaker & { readonly heard: (readonly ChatMessage[])[] } {
  const heard: (readonly ChatMessage[])[] = [];
  const chat = (messages: readonly ChatMessage[]): Generation => {
    heard.push(messages);
    return {} as Generation;
  };
  const count = async (messages: readonly ChatMessage[]): Promise<number> =>
    messages.reduce((sum, { content }) => sum + String(content).length, 0);
  return { contextLength, chat, count, heard };
}

async function say(conversation: Conversation, said: string, text: string, maxTokens?: number): Promise<number> {
  const { forgotten, answered } = await conversation.ask(said, { ...(maxTokens !== undefined && { maxTokens }) });
  answered(text);
  return forgotten;
}

const texts = (messages: readonly ChatMessage[] | undefined): string[] => (messages ?? []).map(({ content }) => String(content));

it("remembers every turn while there is room, and what was not answered never happened", async () => {
  const model = speaker(1000);
  const conversation = new Conversation(model, "S");
  expect(await say(conversation, "a", "b")).toBe(0);
  expect(await say(conversation, "lost", "")).toBe(0);
  await conversation.ask("failed", {});
  expect(await say(conversation, "c", "d")).toBe(0);
  expect(texts(model.heard.at(-1))).toEqual(["S", "a", "b", "c"]);
  conversation.clear();
  await say(conversation, "e", "f");
  expect(texts(model.heard.at(-1))).toEqual(["S", "e"]);
});

it("forgets the oldest turns, and not the system message, when the context is too short for an answer", async () => {
  const model = speaker(40);
  const conversation = new Conversation(model, "S");
  for (const letter of ["a", "b", "c"]) expect(await say(conversation, letter.repeat(5), letter.repeat(4))).toBe(0);
  // 1 + 27 + 5 tokens are there, and a quarter of the context is wanted for the answer; what stays fills half of it at most.
  expect(await say(conversation, "ddddd", "dddd")).toBe(2);
  expect(texts(model.heard.at(-1))).toEqual(["S", "ccccc", "cccc", "ddddd"]);
});

it("keeps no more room than an answer may take", async () => {
  const model = speaker(40);
  const conversation = new Conversation(model, undefined);
  await say(conversation, "a".repeat(10), "b".repeat(15));
  expect((await conversation.ask("c".repeat(10), { maxTokens: 5 })).forgotten).toBe(0);
  expect((await conversation.ask("c".repeat(10), { maxTokens: 6 })).forgotten).toBe(1);
});

it("asks a question that is too long by itself all the same: the model says what is wrong, and nothing is forgotten", async () => {
  const model = speaker(40);
  const conversation = new Conversation(model, undefined);
  await say(conversation, "a", "b");
  expect((await conversation.ask("c".repeat(100), {})).forgotten).toBe(0);
  await conversation.ask("d", {});
  expect(texts(model.heard.at(-1))).toEqual(["a", "b", "d"]);
});
