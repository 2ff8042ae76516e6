import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";
import { GGML_TYPES, type GgmlType, ggmlSpan, OTHER_MEANINGS } from "./ggml-types.js";
import { quote } from "./quote.js";
import type { TensorInfo } from "./tensor.js";

/** A tensor as the header has it. */
export interface UnplacedTensor {
  readonly name: string;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  /** Of a known type. */
  readonly typeId: number;
  /** From the begin of the data section. */
  readonly offset: number;
}

/** `offset`, moved up to a multiple of `alignment` (offsets pass 2^32, so no bit tricks). */
export function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** The bytes that a tensor can have: from its begin to the next one's, or to the end of the file. */
interface Room {
  readonly bytes: number;
  /** The tensor behind it; undefined: the last, whose padding may be missing, and which more bytes may follow. */
  readonly next: UnplacedTensor | undefined;
}

/**
 * Tensors with their types and their places in the file. A type id is trusted only if the bytes agree: each tensor must take just the room
 * up to the next, but for the padding, since ids mean different things in different forks. Of the types with one id the one is taken that
 * fits all tensors with it. Behind the last tensor there may be anything: downloads that reserve their room leave zeros, and no reader looks.
 * @throws BitnetError file: a tensor not aligned, beyond the end of the file, or of another size than its type and shape take
 */
export function placeTensors(tensors: readonly UnplacedTensor[], dataOffset: number, alignment: number, source: ByteSource): TensorInfo[] {
  const { path, size } = source;
  const fail = ({ name, offset }: UnplacedTensor, message: string): never => {
    throw new BitnetError("file", `${path}: the tensor ${quote(name)} ${message}`, {
      file: path,
      tensor: name,
      offset: dataOffset + offset,
    });
  };
  const rooms = new Map<UnplacedTensor, Room>();
  const sorted = tensors.toSorted((a, b) => a.offset - b.offset);
  for (const [i, tensor] of sorted.entries()) {
    if (tensor.offset % alignment !== 0)
      fail(tensor, `starts at byte ${tensor.offset} of the data, which is not a multiple of ${alignment}`);
    const next = sorted[i + 1];
    rooms.set(tensor, { bytes: (next ? next.offset : size - dataOffset) - tensor.offset, next });
  }

  const fits = (type: GgmlType, tensor: UnplacedTensor, exactly = false): boolean => {
    const span = ggmlSpan(tensor.shape, type);
    if ("fault" in span) return false;
    const room = rooms.get(tensor)!;
    const padded = alignUp(span.bytes, alignment);
    return room.next ? padded === room.bytes : span.bytes <= room.bytes && (room.bytes <= padded || !exactly);
  };
  const typeOf = new Map<number, GgmlType>();
  for (const id of new Set(tensors.map(({ typeId }) => typeId))) {
    const types = GGML_TYPES.filter((type) => type.id === id);
    const all = tensors.filter(({ typeId }) => typeId === id);
    const ends = (exactly: boolean) => types.filter((type) => all.every((tensor) => fits(type, tensor, exactly)));
    const exact = ends(true);
    const [first, other] = exact.length > 0 ? exact : ends(false);
    if (other) {
      const names = types.map(({ name }) => name).join(" and ");
      const why = exact.length > 0 ? "with such wide padding between tensors" : "with bytes after the last tensor";
      fail(all[0]!, `could have any of the types ${names}, which share the id ${id}: ${why}, they can't be told apart`);
    }
    typeOf.set(id, first ?? types[0]!);
  }

  return tensors.map((tensor) => {
    const type = typeOf.get(tensor.typeId)!;
    const { name, shape } = tensor;
    const span = ggmlSpan(shape, type);
    if ("fault" in span) return fail(tensor, span.fault);
    if (!fits(type, tensor)) {
      const { bytes, next } = rooms.get(tensor)!;
      const offset = dataOffset + tensor.offset;
      const end = offset + span.bytes;
      const others = GGML_TYPES.filter((other) => fits(other, tensor, true)).map((other) => other.name);
      if (end > size && next === undefined && others.length === 0)
        return fail(tensor, `would end at byte ${end}, but the file ends at byte ${size}: it is truncated or damaged`);
      const there = next ? `up to ${quote(next.name)} there are ${bytes}` : `up to the end of the file there are ${bytes}`;
      const otherwise = OTHER_MEANINGS.get(type.id);
      const fault = otherwise
        ? `so it may be ${otherwise}, which has the same id and is not supported`
        : others.length > 0
          ? `as many as ${others.join(", ")} would take`
          : bytes < span.bytes
            ? "so they overlap"
            : "so some belong to no tensor";
      fail(
        tensor,
        `of type ${type.name} (id ${type.id}) and shape [${shape.join(", ")}] takes ${span.bytes} bytes, but ${there}, ${fault} (at byte ${offset})`,
      );
    }
    return { name, shape, type: type.name, file: path, offset: dataOffset + tensor.offset, byteLength: span.bytes };
  });
}
