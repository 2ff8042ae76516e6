import type { Random } from "./random.js";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Text that JSON.stringify doesn't write stands for a string like this while the value is a tree. */
const RAW = "\u0001raw:";

/** A value as JSON text that may be no JSON. */
const raw = (text: string): string => RAW + text;

const nested = (levels: number): string => raw("[".repeat(levels) + "]".repeat(levels));

/** What may replace any value. */
function oddValue(random: Random): Json {
  const long = 10 ** (1 + random.below(6));
  return random.pick<() => Json>([
    () => null,
    () => 0,
    () => -1,
    () => 1,
    () => 0.5,
    () => 3,
    () => 2 ** 31,
    () => 2 ** 53,
    () => 1e308,
    () => raw("1e999"),
    () => raw("-0"),
    () => raw("NaN"),
    () => "",
    () => "x",
    () => "\u0000",
    () => raw('"\\ud800"'),
    () => "x".repeat(long),
    () => "../../etc/passwd",
    () => "__proto__",
    () => "(a+)+$",
    () => true,
    () => false,
    () => [],
    () => ({}),
    () => [[]],
    () => [null],
    () => [-1, 1e308, "x", {}],
    () => ({ type: "Sequence" }),
    () => ({ __proto__: null, type: "Unknown", content: 5 }),
    () => nested(10),
    () => nested(long / 10),
    () => raw(`{"__proto__":{"a":1},"constructor":null}`),
    () => raw(`[${"0,".repeat(long)}0]`),
    () => raw('{"toString":1,"valueOf":1,"toJSON":1,"length":1e9}'),
    () => "<|eot_id|>",
    () => random.below(1000),
  ])();
}

/** All places in a tree: the container and the key in it. Of long lists and objects only some. */
function places(random: Random, value: Json, found: { in: Json[] | { [key: string]: Json }; key: string }[] = []): typeof found {
  if (typeof value !== "object" || value === null) return found;
  const keys = Object.keys(value);
  const some = keys.length <= 24 ? keys : Array.from({ length: 12 }, () => random.pick(keys));
  for (const key of some) {
    found.push({ in: value, key });
    places(random, (value as { [key: string]: Json })[key]!, found);
  }
  return found;
}

/** A JSON text with some of its values changed, dropped, doubled or swapped, or with its text damaged. */
export function mutateJson(random: Random, text: string): string {
  if (random.once(8)) return mutateText(random, text);
  const tree = { root: JSON.parse(text) as Json };
  for (let left = 1 + (random.once(3) ? random.below(4) : 0); left > 0; left--) {
    const all = places(random, tree);
    if (all.length === 0) break;
    const { in: where, key } = random.pick(all);
    const holder = where as { [key: string]: Json };
    const old = holder[key]!;
    switch (random.below(10)) {
      case 0:
      case 1:
        if (Array.isArray(where)) where.splice(Number(key), 1);
        else delete holder[key];
        break;
      case 2:
        if (Array.isArray(where)) where.push(structuredClone(old));
        else holder[`${key}${random.pick(["", "_", "\u0000", " "])}2`] = structuredClone(old);
        break;
      case 3: {
        const other = random.pick(all);
        const theirs = (other.in as { [key: string]: Json })[other.key];
        if (theirs !== undefined) holder[key] = structuredClone(theirs);
        break;
      }
      case 4:
        if (typeof old === "number") holder[key] = random.pick([old + 1, old - 1, old * 2, -old, old / 2, old * 1e6, old + 0.5, 1 / old]);
        else if (typeof old === "string")
          holder[key] = random.pick([`${old}x`, old.slice(1), old.toUpperCase(), `${old} ${old}`, [...old]]);
        else if (typeof old === "boolean") holder[key] = !old;
        else holder[key] = [old];
        break;
      case 5:
        if (Array.isArray(where)) where.unshift(oddValue(random));
        else holder[random.pick(["type", "id", "content", "__metadata__", "__proto__", "dtype", "shape", key])] = oddValue(random);
        break;
      default:
        holder[key] = oddValue(random);
    }
  }
  const out = JSON.stringify(tree.root ?? null);
  return out.replace(/"\\u0001raw:((?:[^"\\]|\\.)*)"/g, (_, inner: string) => JSON.parse(`"${inner}"`) as string);
}

/** Damage that no tree can have. */
function mutateText(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const [before, after] = [text.slice(0, at), text.slice(at)];
  return random.pick<() => string>([
    () => before,
    () => after,
    () => before + random.pick(['"', "{", "}", "[", "]", ",", ":", "\\", "\u0000", "\ufeff", "//", "'", "\\u12", "1e", "-"]) + after,
    () => text + text,
    () => "",
    () => `\ufeff${text}`,
    () => "null",
    () => "[]",
    () => "{}",
    () => '"x"',
    () => "[".repeat(100_000),
    () => `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
    () => `${text.slice(0, -1)},"x":1,"x":2}`,
    () => `${" ".repeat(100_000)}${text}`,
  ])();
}
