import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StopText } from "./stop-text.js";

function feed(stops: readonly string[], pieces: readonly string[]): { shown: string[]; stopped: boolean } {
  const stopText = new StopText(stops);
  const shown = pieces.map((piece) => stopText.push(piece));
  return { shown: [...shown, stopText.end()], stopped: stopText.stopped };
}

/** Letter by letter: the first end of a stop string counts, its longest string there. */
function plain(stops: readonly string[], text: string): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - found.length), stopped: true };
  }
  return { text, stopped: false };
}

describe("StopText", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 4 });

  test("cuts where the plain search does, however the text comes in pieces", () => {
    fc.assert(
      fc.property(
        fc.array(
          letters.filter((stop) => stop !== ""),
          { maxLength: 4 },
        ),
        fc.array(letters, { maxLength: 12 }),
        (stops, pieces) => {
          const { shown, stopped } = feed(stops, pieces);
          expect({ text: shown.join(""), stopped }).toEqual(plain(stops, pieces.join("")));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("never shows a letter that might begin a stop string, and holds no other", () => {
    fc.assert(
      fc.property(
        fc.array(
          letters.filter((stop) => stop !== ""),
          { minLength: 1, maxLength: 3 },
        ),
        fc.array(letters, { maxLength: 12 }),
        (stops, pieces) => {
          const stopText = new StopText(stops);
          let all = "";
          let shown = "";
          for (const piece of pieces) {
            all += piece;
            shown += stopText.push(piece);
            if (stopText.stopped) return;
            const held = all.slice(shown.length);
            if (held !== "") expect(stops.some((stop) => stop.startsWith(held))).toBe(true);
            for (let at = 0; at < shown.length; at++) {
              expect(stops.some((stop) => stop.startsWith(all.slice(at)))).toBe(false);
            }
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test("finds a stop string over several pieces and drops what follows", () => {
    expect(feed(["END"], ["one E", "N", "D two"])).toEqual({ shown: ["one ", "", "", ""], stopped: true });
    expect(feed(["END"], ["one E", "N", "d two"])).toEqual({ shown: ["one ", "", "ENd two", ""], stopped: false });
    expect(feed(["END"], ["one EN"])).toEqual({ shown: ["one ", "EN"], stopped: false });
    expect(feed([], ["one", " two"])).toEqual({ shown: ["one", " two", ""], stopped: false });
  });
});
