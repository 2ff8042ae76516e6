/** A text that both sides are fed. */
export interface ParityText {
  readonly id: string;
  readonly text: string;
  /** Followed by the reference side's greedy continuation. */
  readonly continued: boolean;
}

/** Beginnings in different voices, written for this purpose. The first few are those of a quick run. */
const PROMPTS: readonly string[] = [
  "Once upon a time there was a small boat that",
  "Ben looked under the bed and saw",
  "Mia and her dad went to the market to buy",
  "The old clock in the hall had not struck the hour for years, and",
  "In the first place, the weight of a thing depends on",
  "12 apples, 7 pears and 3 plums:",
];

/** Longer texts to be scored as they are, written for this purpose: a story in short words, and a page in longer ones. */
const STORY = `Tom had a red kite. It was the best kite in the whole town. One windy day he took it to the hill. "Fly high, kite!" he said. The kite went up and up, over the trees and over the church. Tom was so happy that he ran in circles. Then the wind pulled hard, and the string broke. The kite flew away.

Tom sat down in the grass and cried. A girl with a blue hat came up the hill. Her name was Anna. "Why are you crying?" she asked. "My kite is gone," said Tom. "I saw it," said Anna. "It is in the big oak tree by the river. Come, I will show you."

They ran down to the river. The kite was high up in the tree. Tom could not climb so high, and Anna could not either. But a little squirrel sat beside the kite. Anna took a nut out of her pocket and held it up. The squirrel looked at the nut. It ran down the branch, and the kite fell into the grass.

"Thank you, squirrel!" said Tom. From that day on, they went to the hill together, and the kite never flew away again.`;

const PAGE = `The lighthouse keeper had lived alone for so many winters that he had fallen into the habit of addressing the weather as though it were a troublesome neighbour. When the fog came in from the north he would shake his head and remark that some people had no consideration; and when, after a week of rain, the sun at last appeared above the water, he would raise his hat to it with great politeness and inquire where it had been. The fishermen, who brought his letters and his flour on the first of every month, thought none the worse of him for this. "A man must talk to somebody," said the eldest of them, "and the sea, at any rate, never repeats what it has been told."

It was therefore a matter of general astonishment when, one evening in the autumn, the keeper was heard to answer a question. He had been trimming the lamp, as was his custom at that hour, and complaining of the wind; and a voice behind him, quite distinctly, had desired to know whether he would prefer it to blow from another quarter.`;

/** All of them. */
export const TEXTS: readonly ParityText[] = [
  ...PROMPTS.map((text, i) => ({ id: `prompt-${i + 1}`, text, continued: true })),
  { id: "story", text: STORY, continued: false },
  { id: "page", text: PAGE, continued: false },
];

/** In float32 a model of more weights takes half a second a token and longer. */
const LARGE = 5e8;

/** What parity is measured on unless other texts are given; fewer of them for a quick look, of a large model only those that are continued. */
export function parityTexts(quick: boolean, parameters: number): readonly ParityText[] {
  if (!quick) return TEXTS;
  return TEXTS.filter(({ id }) => (parameters > LARGE ? /^prompt-[124]$/ : /^(prompt-[124]|story)$/).test(id));
}

/** A file of prompts: one a line, each continued; empty lines are none. */
export function textsOfLines(file: string): ParityText[] {
  return file
    .split(/\r?\n/)
    .map((text, i) => ({ id: `line-${i + 1}`, text, continued: true }))
    .filter(({ text }) => text.trim() !== "");
}
