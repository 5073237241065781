// The check of an index, and half floats as their 16 bits in a word.

fn check(i: i32, size: i32) -> i32 {
  if (i >= 0 && i < size) { return i; }
  if (atomicExchange(&status[0], 1u) == 0u) {
    atomicStore(&status[1], bitcast<u32>(i));
    atomicStore(&status[2], u32(size));
  }
  return 0;
}

fn to_bfloat(x: f32) -> u32 {
  let b = bitcast<u32>(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) { return (b >> 16u) | 0x40u; }
  return (b + 0x7fffu + ((b >> 16u) & 1u)) >> 16u;
}

fn to_half(x: f32) -> u32 {
  let b = bitcast<u32>(x);
  let sign = (b >> 16u) & 0x8000u;
  let a = b & 0x7fffffffu;
  if (a > 0x7f800000u) { return sign | 0x7e00u; }
  if (a >= 0x477ff000u) { return sign | 0x7c00u; }
  if (a < 0x38800000u) { return sign | (bitcast<u32>(abs(x) + 0.5) - 0x3f000000u); }
  let r = a - 0x38000000u;
  return sign | ((r + 0xfffu + ((r >> 13u) & 1u)) >> 13u);
}
