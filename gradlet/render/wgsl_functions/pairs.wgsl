// 64-bit integers as pairs of words, lower one first.

fn add_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn sub_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn mul_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let p = a.x & 0xffffu;
  let q = a.x >> 16u;
  let r = b.x & 0xffffu;
  let s = b.x >> 16u;
  let middle = ((p * r) >> 16u) + ((p * s) & 0xffffu) + ((q * r) & 0xffffu);
  let high = q * s + ((p * s) >> 16u) + ((q * r) >> 16u) + (middle >> 16u);
  return vec2<u32>(a.x * b.x, high + a.x * b.y + a.y * b.x);
}

fn shl_pair(a: vec2<u32>, count: u32) -> vec2<u32> {
  if (count == 0u) { return a; }
  if (count >= 32u) { return vec2<u32>(0u, a.x << (count - 32u)); }
  return vec2<u32>(a.x << count, (a.y << count) | (a.x >> (32u - count)));
}

fn shr_u64(a: vec2<u32>, count: u32) -> vec2<u32> {
  if (count == 0u) { return a; }
  if (count >= 32u) { return vec2<u32>(a.y >> (count - 32u), 0u); }
  return vec2<u32>((a.x >> count) | (a.y << (32u - count)), a.y >> count);
}

fn shr_i64(a: vec2<u32>, count: u32) -> vec2<u32> {
  let high = bitcast<i32>(a.y);
  let fill = bitcast<u32>(high >> 31u);
  if (count == 0u) { return a; }
  if (count >= 32u) { return vec2<u32>(bitcast<u32>(high >> (count - 32u)), fill); }
  return vec2<u32>((a.x >> count) | (a.y << (32u - count)), bitcast<u32>(high >> count));
}

fn less_u64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn less_i64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}

fn abs_i64(a: vec2<u32>) -> vec2<u32> {
  if (bitcast<i32>(a.y) < 0) { return sub_pair(vec2<u32>(), a); }
  return a;
}

fn divided(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
  var quotient = vec2<u32>();
  var rest = vec2<u32>();
  if (all(b == vec2<u32>())) { return vec4<u32>(); }
  for (var n = 0; n < 64; n++) {
    let place = 63u - u32(n);
    let beyond = rest.y >> 31u;
    rest = shl_pair(rest, 1u) | vec2<u32>(shr_u64(a, place).x & 1u, 0u);
    if (beyond == 1u || !less_u64(rest, b)) {
      rest = sub_pair(rest, b);
      quotient |= shl_pair(vec2<u32>(1u, 0u), place);
    }
  }
  return vec4<u32>(quotient, rest);
}

fn floordiv_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return divided(a, b).xy;
}

fn floordiv_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let found = divided(abs_i64(a), abs_i64(b));
  if (bitcast<i32>(a.y ^ b.y) >= 0) { return found.xy; }
  let rest = u32(any(found.zw != vec2<u32>()) && any(b != vec2<u32>()));
  return sub_pair(sub_pair(vec2<u32>(), found.xy), vec2<u32>(rest, 0u));
}

fn mod_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(divided(a, b).zw, b, all(b == vec2<u32>()));
}

fn mod_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  if (all(b == vec2<u32>())) { return b; }
  return sub_pair(a, mul_pair(b, floordiv_i64(a, b)));
}

fn f32_of_u64(a: vec2<u32>) -> f32 {
  if (a.y == 0u) { return f32(a.x); }
  let bits = 32u - countLeadingZeros(a.y);
  let lost = any(shl_pair(a, 64u - bits) != vec2<u32>());
  return f32(shr_u64(a, bits).x | u32(lost)) * bitcast<f32>((bits + 127u) << 23u);
}

fn f32_of_i64(a: vec2<u32>) -> f32 {
  let size = f32_of_u64(abs_i64(a));
  return select(size, -size, bitcast<i32>(a.y) < 0);
}

fn u64_of_f32(x: f32) -> vec2<u32> {
  if (!is_number_f32(x) || x < 1.0) { return vec2<u32>(); }
  if (x >= 0x1p64f) { return vec2<u32>(0xffffffffu, 0xffffffffu); }
  let high = u32(x * 0x1p-32f);
  return vec2<u32>(u32(x - f32(high) * 0x1p32f), high);
}

fn i64_of_f32(x: f32) -> vec2<u32> {
  if (x >= 0x1p63f) { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
  if (x <= -0x1p63f) { return vec2<u32>(0u, 0x80000000u); }
  let size = u64_of_f32(abs(x));
  if (x < 0.0) { return sub_pair(vec2<u32>(), size); }
  return size;
}

fn pair_of_i32(x: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u));
}

fn index_of_u64(a: vec2<u32>) -> i32 {
  return select(2147483647, i32(a.x), a.y == 0u && a.x < 0x80000000u);
}

fn index_of_i64(a: vec2<u32>) -> i32 {
  let low = bitcast<i32>(a.x);
  if (a.y == bitcast<u32>(low >> 31u)) { return low; }
  return select(2147483647, i32(-2147483648), bitcast<i32>(a.y) < 0);
}
