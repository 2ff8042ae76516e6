/** What a character is to the rules that cut text into words: bits of its class. */
export const Class = { letter: 1, number: 2, space: 4, punctuation: 8, mark: 32 } as const;

/** Set in the table once a character's class is known. */
const known = 16;

/** [characters] by code point; 0 if not looked up yet. */
const classes = new Uint8Array(0x110000);

function look(code: number): number {
  const character = String.fromCodePoint(code);
  const found =
    known |
    (/\p{L}/u.test(character) ? Class.letter : 0) |
    (/\p{N}/u.test(character) ? Class.number : 0) |
    (/\p{M}/u.test(character) ? Class.mark : 0) |
    (/\p{White_Space}/u.test(character) ? Class.space : 0) | // JavaScript's own \s lacks U+0085 and has U+FEFF
    (/[\p{P}$+<=>^`|~]/u.test(character) ? Class.punctuation : 0); // Hugging Face's calls all of ASCII's symbols punctuation
  classes[code] = found;
  return found;
}

/** The class of the character at `text[at]`; none behind the end. Half a character is of no class. */
export function classAt(text: string, at: number): number {
  if (at >= text.length) return 0;
  const code = text.codePointAt(at)!;
  return classes[code]! || look(code);
}

/** Units of the character at `text[at]`. */
export function unitsAt(text: string, at: number): number {
  return text.codePointAt(at)! > 0xffff ? 2 : 1;
}

/**
 * Where the run of characters ends that begins at `text[at]`: those with one of the bits `any`, or with none of them where `isIn` is false; of
 * at most `most` characters.
 */
export function runEnd(text: string, at: number, any: number, isIn: boolean, most = Infinity): number {
  for (let count = 0; at < text.length && count < most; count++) {
    const code = text.codePointAt(at)!;
    const bits = classes[code]! || look(code);
    if (((bits & any) !== 0) !== isIn) break;
    at += code > 0xffff ? 2 : 1;
  }
  return at;
}
