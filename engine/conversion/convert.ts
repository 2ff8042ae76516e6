import { directoryOf, inDirectory, isSame, listDirectory, openSource, writeDirectory } from "#host/files.js";
import { pathFrom } from "#host/paths.js";
import { type Checkpoint, openCheckpoint } from "../container/checkpoint.js";
import { kindIfAny } from "../container/source.js";
import { BitnetError } from "../errors.js";
import type { FilePath } from "../host/files.js";
import { allLinears } from "../model/layers.js";
import { type Given, readOptions } from "../options.js";
import { writeAsGguf } from "./gguf-target.js";
import { readModel, type SourceModel } from "./model.js";
import { TensorReader } from "./reader.js";
import { WEIGHTS_FILE, writeAsSafetensors } from "./safetensors-target.js";
import { CONVERT_OPTIONS, type Conversion, type ConversionType, type ConvertOptions } from "./types.js";

function usage(message: string): never {
  throw new BitnetError("usage", message);
}

/** What to write, of an output's name and the options. @throws BitnetError usage: they don't go together */
function targetType(out: string, { type, embedding }: ConvertOptions): ConversionType {
  const named = /\.gguf$/i.test(out);
  const chosen = type ?? (named ? "i2_s" : "packed");
  if (/\.safetensors$/i.test(out))
    usage(`${out}: SafeTensors output is a directory, because it needs other files beside the weights; give the path of a directory`);
  if (chosen === "packed" && named)
    usage(`${out}: packed weights are written as a directory with SafeTensors, so the name can't end in .gguf`);
  if (chosen !== "packed" && !named) usage(`${out}: weights of type ${chosen} are written as GGUF, so the output's name must end in .gguf`);
  if (chosen === "packed" && embedding !== undefined)
    usage("an embedding type can't be chosen for packed SafeTensors, whose embedding is the smallest of bf16, f16 and f32 that is exact");
  return chosen;
}

/** Nothing is overwritten unasked, and never what is being read. @throws BitnetError usage */
async function requireFree(out: string, checkpoint: Checkpoint, type: ConversionType, force: boolean): Promise<void> {
  const kind = await kindIfAny(out);
  if (kind === undefined) return;
  for (const file of checkpoint.files) {
    if (await isSame(out, kind === "directory" ? directoryOf(file) : file)) usage(`${out} is the model to convert; choose another output`);
  }
  const wanted = type === "packed" ? "directory" : "file";
  if (kind !== wanted) usage(`${out} is a ${kind}, but the output is a ${wanted}; choose another output`);
  if (force || (kind === "directory" && (await listDirectory(out)).length === 0)) return;
  usage(`${out} already exists; choose another output, or replace it (force, --force)`);
}

/** Bytes that a conversion reads: each tensor once, and those twice that must be seen before any is written. */
function bytesToRead({ sources, config }: SourceModel, packed: boolean, checkpoint: Checkpoint): number {
  const twice = allLinears(sources.layers)
    .filter(({ tensor }) => tensor.type !== "U8" && tensor.type !== "I2_S")
    .map(({ tensor }) => tensor);
  if (packed) twice.push(...[sources.embedding, ...(config.tiedHead ? [] : [sources.head!])].filter(({ type }) => type !== "BF16"));
  return [...checkpoint.tensors.values(), ...twice].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/**
 * Writes a model in another form: SafeTensors or GGUF of any kind that can be run, to GGUF or to packed SafeTensors, with its tokenizer and chat
 * template. Codes of ternary weights never change; what else is rounded, the result says. Tensors are read, converted and written in pieces.
 * The output takes its name when it is whole.
 * @param path as of `loadModel`
 * @param output the GGUF file or the directory to write
 * @throws BitnetError, with nothing written; if `signal` aborts, its reason
 */
export async function convertModel(path: FilePath, output: FilePath, given?: Given<ConvertOptions>): Promise<Conversion> {
  const options = readOptions<ConvertOptions>("convertModel()", given, CONVERT_OPTIONS);
  const source = pathFrom("path", path);
  const out = pathFrom("out", output);
  const type = targetType(out, options);
  const checkpoint = await openCheckpoint(source);
  const reader = new TensorReader(options);
  try {
    await requireFree(out, checkpoint, type, options.force ?? false);
    const model = await readModel(checkpoint, options);
    reader.total = bytesToRead(model, type === "packed", checkpoint);
    const target =
      type === "packed"
        ? await writeDirectory(out, (temporary) => writeAsSafetensors(model, temporary, reader))
        : await writeAsGguf(model, out, type.toUpperCase(), options.embedding, reader);
    const weights = await openSource(type === "packed" ? inDirectory(out, WEIGHTS_FILE) : out);
    await weights.close();
    return { path: out, format: type === "packed" ? "safetensors" : "gguf", bytes: weights.size, ...target };
  } finally {
    await reader.close();
    await checkpoint.close();
  }
}
