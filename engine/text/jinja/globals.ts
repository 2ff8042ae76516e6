import { bind, signature } from "./bind.js";
import { fail, TemplateFault } from "./fault.js";
import type { Meter } from "./meter.js";
import { toIndex } from "./numbers.js";
import { str } from "./print.js";
import { strftime } from "./strftime.js";
import { empty, Text } from "./text.js";
import { Dict, dictOf, Func, iterate, type Keywords, Namespace, Range, Thing, Tuple, typeName, Undefined, type Value } from "./values.js";

/** Elements that one `range` gives: Jinja's sandbox has the same limit. */
const maxRange = 100_000;

function range(args: readonly Value[], keywords: Keywords): Range {
  const [first, second, third] = bind("range", signature("start,stop=,step=*"), args, keywords);
  const [start, stop] = second === undefined ? [0, toIndex(first!)] : [toIndex(first!), toIndex(second)];
  const step = third === undefined ? 1 : toIndex(third);
  if (step === 0) fail("range() arg 3 must not be zero");
  const made = new Range(start, stop, step);
  if (made.length > maxRange) throw new TemplateFault("limit", `range asks for more than ${maxRange} elements`);
  return made;
}

/** What `dict(…)` and `namespace(…)` are made of: a dict or pairs, then keywords. */
function members(name: string, args: readonly Value[], keywords: Keywords, meter: Meter): Dict {
  const [from] = bind(name, signature("from=*"), args, new Map());
  const pairs: (readonly [Value, Value])[] = [];
  if (from instanceof Undefined) fail(from.why);
  if (from instanceof Dict) pairs.push(...from.members.values());
  else if (from !== undefined) {
    for (const item of iterate(from, meter)) {
      const pair = iterate(item, meter);
      if (pair.length !== 2) fail("dictionary update sequence element must have 2 elements");
      pairs.push([pair[0]!, pair[1]!]);
    }
  }
  for (const [key, value] of keywords) pairs.push([Text.marked(key), value]); // they may come from **
  return dictOf(pairs, meter);
}

class Cycler extends Thing {
  readonly typeName = "Cycler";
  #at = 0;
  constructor(readonly items: readonly Value[]) {
    super();
  }
  override attribute(name: string): Value | undefined {
    const current = this.items[this.#at]!;
    if (name === "current") return current;
    if (name === "reset") return new Func(name, () => this.#go(0, null));
    return name === "next" ? new Func(name, () => this.#go((this.#at + 1) % this.items.length, current)) : undefined;
  }
  #go(at: number, result: Value): Value {
    this.#at = at;
    return result;
  }
}

/** The functions that Jinja, and Hugging Face's way of calling it, give a template; `now` is the conversation's date. */
export function globals(now: Date | undefined, meter: Meter): Map<string, Value> {
  const all: Readonly<Record<string, (args: readonly Value[], keywords: Keywords) => Value>> = {
    range,
    dict: (args, keywords) => members("dict", args, keywords, meter),
    namespace: (args, keywords) => {
      const made = new Namespace();
      for (const [key, value] of members("namespace", args, keywords, meter).members.values()) {
        made.values.set(key instanceof Text ? key.value : fail(`a namespace can't have a name of type ${typeName(key)}`), value);
      }
      return made;
    },
    cycler: (args) => (args.length > 0 ? new Cycler(args) : fail("at least one item has to be provided")),
    joiner: (args) => {
      let isFirst = true;
      const [separator] = args;
      return new Func("joiner", () => {
        const isBetween = !isFirst;
        isFirst = false;
        return !isBetween ? empty : separator === undefined ? new Text(", ") : str(separator, meter);
      });
    },
    raise_exception: (args, keywords) => {
      const [message] = bind("raise_exception", signature("message"), args, keywords);
      throw new TemplateFault("raised", str(message!, meter).value);
    },
    strftime_now: (args, keywords) => {
      const [format] = bind("strftime_now", signature("format"), args, keywords);
      if (!(format instanceof Text)) return fail("strftime_now requires a string as its format");
      if (!now) throw new TemplateFault("no date", "it writes the date, but none was given");
      meter.text(20 * format.value.length);
      const written = strftime(now, format.value);
      return format.isMarked ? Text.marked(written) : new Text(written);
    },
  };
  return new Map(Object.entries(all).map(([name, call]) => [name, new Func(name, call)]));
}

/** What a loop says of itself: `loop.index` and the others. */
export class Loop extends Thing {
  readonly typeName = "LoopContext";
  /** Place of the element that the loop is at. */
  at = 0;
  #last: readonly Value[] | undefined;

  constructor(
    readonly items: readonly Value[],
    readonly depth: number,
    /** Runs the loop over what one of its elements holds, if it is a recursive one. */
    readonly recurse: ((over: Value, depth: number) => Text) | undefined,
    readonly isEqual: (a: Value, b: Value) => boolean,
    readonly absent: (why: string) => Value,
  ) {
    super();
  }

  override readonly call = (args: readonly Value[], keywords: Keywords): Value => {
    const [over] = bind("loop", signature("iterable*"), args, keywords);
    if (!this.recurse) return fail("the loop is not recursive: its tag must end with the word recursive");
    return this.recurse(over!, this.depth + 1);
  };

  override attribute(name: string): Value | undefined {
    const { at, items } = this;
    switch (name) {
      case "index":
        return BigInt(at + 1);
      case "index0":
        return BigInt(at);
      case "revindex":
        return BigInt(items.length - at);
      case "revindex0":
        return BigInt(items.length - at - 1);
      case "first":
        return at === 0;
      case "last":
        return at === items.length - 1;
      case "length":
        return BigInt(items.length);
      case "depth":
        return BigInt(this.depth);
      case "depth0":
        return BigInt(this.depth - 1);
      case "previtem":
        return at === 0 ? this.absent("there is no previous item") : items[at - 1];
      case "nextitem":
        return at === items.length - 1 ? this.absent("there is no next item") : items[at + 1];
      case "cycle":
        return new Func(name, (args) => (args.length === 0 ? fail("no items for cycling given") : args[at % args.length]!));
      case "changed":
        return new Func(name, (args) => {
          const same = this.#last?.length === args.length && args.every((value, i) => this.isEqual(value, this.#last![i]!));
          this.#last = args;
          return !same;
        });
    }
    return undefined;
  }
}

/** A dict of what was given by name, a tuple of the rest: `kwargs` and `varargs`. */
export function collected(args: readonly Value[], keywords: Keywords, meter: Meter): { varargs: Tuple; kwargs: Dict } {
  const named = Array.from(keywords, ([key, value]) => [Text.marked(key), value] as const);
  return { varargs: new Tuple(args), kwargs: dictOf(named, meter) };
}
