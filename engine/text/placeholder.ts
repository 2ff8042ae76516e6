import { TemplateFault } from "./jinja/fault.js";
import { Template } from "./jinja/template.js";
import { Text } from "./jinja/text.js";
import { List, record } from "./jinja/values.js";

/** The template's words that no other has. */
const mark = "BITNETAssistant";

/**
 * Whether this is the placeholder that bitnet.cpp's converter for Microsoft's checkpoint, convert-ms-to-gguf-bitnet.py, writes into every file in
 * place of the model's template: a user's words become "Human: …\n\nBITNETAssistant: " and an end of text, and what the system says is dropped. It
 * is recognised by what it writes.
 */
export function isPlaceholder(source: string): boolean {
  if (!source.includes(mark) || source.length > 2000) return false;
  const say = (role: string, content: string) => [role, content] as const;
  const turns = [say("system", "<system>"), say("user", "<user>")];
  try {
    const { value } = new Template(source).render(
      (meter) => {
        const messages = turns.map(([role, content]) =>
          record(Object.entries({ role: new Text(role), content: new Text(content) }), meter),
        );
        return new Map(
          Object.entries({
            messages: new List(messages),
            bos_token: new Text("<bos>"),
            eos_token: new Text("<eos>"),
            add_generation_prompt: true,
          }),
        );
      },
      { steps: 10_000, made: 100_000, text: 10_000 },
    );
    const words = value.replaceAll("\\n", "\n").split(/\s+/).join(" ").trim(); // copies differ in white space and in escapes
    return words.replace(/^<bos> ?/, "") === `Human: <user> ${mark}: <eos>`;
  } catch (error) {
    if (error instanceof TemplateFault) return false;
    throw error;
  }
}

/** The turns of BitNet b1.58 2B4T, as the tokenizer_config.json of Microsoft's own repositories writes them. */
export const bitnetTemplate =
  "{% for message in messages %}{{ bos_token if loop.first }}{{ message.role | capitalize }}: {{ message.content | trim }}<|eot_id|>{% endfor %}{{ 'Assistant: ' if add_generation_prompt }}";

/** The token at the end of each of those turns. */
export const bitnetTurnEnd = "<|eot_id|>";

export const placeholderNote =
  "the file's chat template is a placeholder from bitnet.cpp's converter; using BitNet b1.58 2B4T's own template instead: User: …<|eot_id|>Assistant: ";

export const keptPlaceholderNote =
  "the file's chat template is a placeholder from bitnet.cpp's converter, and its vocabulary has no <|eot_id|> to end turns with: pass the model's own template (--tokenizer, or the option tokenizer)";
