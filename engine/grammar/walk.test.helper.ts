/** Walks through grammars as a model does, for tests. */
import { openTokenizer } from "../generation/model.js";
import { Constraint } from "./constraint.js";
import type { Grammar } from "./grammar.js";
import { Matcher } from "./matcher.js";
import { TokenTrie } from "./token-trie.js";

/** The embedded model's tokens. */
export const { tokenizer } = await openTokenizer();
export const trie = new TokenTrie(tokenizer.size, (id) =>
  tokenizer.isSpecial(id) ? undefined : tokenizer.decodeBytes([id], { after: id }),
);

/** A byte that is a token of its own. */
const ofByte = (character: string): number => {
  for (let id = 0; id < tokenizer.size; id++) if (trie.bytes(id)?.length === 1 && trie.bytes(id)![0] === character.charCodeAt(0)) return id;
  throw new Error(`no token ${character}`);
};
/** Tokens that lead to an end soon: those that close something, then others. */
const closing = [...'"}]'].map(ofByte);
const onward = [...",:0123456789-.@atfnA{["].map(ofByte);

/** Ids whose bits are set. */
export function idsOf(mask: Uint32Array): number[] {
  const ids: number[] = [];
  mask.forEach((word, index) => {
    for (let bits = word; bits !== 0; bits &= bits - 1) ids.push(32 * index + 31 - Math.clz32(bits & -bits));
  });
  return ids;
}

/** The text of an answer, which must be UTF-8 throughout if it is whole. */
const textOf = (ids: readonly number[], isWhole: boolean): string =>
  new TextDecoder("utf-8", { fatal: isWhole }).decode(tokenizer.decodeBytes(ids, { after: ids[0] }));

/** Whether a grammar has a text. */
export function has(grammar: Grammar, text: string): boolean {
  const matcher = new Matcher(grammar, trie);
  let place: ReturnType<Matcher["step"]> = matcher.start();
  for (const byte of new TextEncoder().encode(text)) place &&= matcher.step(place, byte);
  return place?.canEnd === true;
}

/**
 * An answer of tokens chosen among the allowed ones, each as likely as any other; after `most` of them, of those that lead to an end. Throws where
 * neither a token nor the end may follow.
 * @param random from 0 to 1, 1 excluded
 */
export function answerOf(
  matcher: Matcher,
  random: () => number,
  most = 24,
): { readonly text: string; readonly ids: readonly number[]; readonly isWhole: boolean } {
  const constraint = new Constraint(matcher);
  const ids: number[] = [];
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  for (;;) {
    const mask = constraint.mask();
    const allowed = (id: number): boolean => ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1;
    const mayFollow = idsOf(mask);
    if (mayFollow.length === 0 && !constraint.canEnd) throw new Error(`a dead end after ${tokenizer.decode(ids)}`);
    const isLate = ids.length >= most;
    const isWhole = constraint.canEnd && (mayFollow.length === 0 || isLate || random() < 0.2);
    if (isWhole || ids.length > 50 * most) return { text: textOf(ids, isWhole), ids, isWhole };
    const ends = closing.filter(allowed);
    const end = ends.length > 0 ? pick(ends) : onward.find(allowed);
    const id = isLate && random() < 0.9 && end !== undefined ? end : pick(mayFollow);
    if (ids.length % 8 === 3) {
      const other = constraint.fork();
      other.accept(pick(mayFollow)); // leaves this one as it is
    }
    constraint.accept(id);
    ids.push(id);
  }
}
