// Arrays off the wire.

import type { Tensor } from "../messages";

export type Numbers = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** The numbers of an array; without copying where they lie aligned. */
export function numbers(tensor: Tensor): Numbers {
  const { b, d } = tensor;
  if (d === "u1") return b;
  const kind = d === "f4" ? Float32Array : d === "i4" ? Int32Array : Uint32Array;
  const aligned = b.byteOffset % 4 === 0 ? b : b.slice();
  return new kind(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength >> 2);
}

/** One slice along the first axis. */
export function row(tensor: Tensor, index: number): Numbers {
  const all = numbers(tensor);
  const size = tensor.s.slice(1).reduce((a, b) => a * b, 1);
  return all.subarray(index * size, (index + 1) * size);
}
