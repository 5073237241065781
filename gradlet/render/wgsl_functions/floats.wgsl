// Of $real, whose bits are a $word. `nothing` are words of data that are 0, as no compiler knows.

fn is_number_$real(x: $real) -> bool {
  return (bitcast<$word>(x) & $mask) <= $inf;
}

fn exact_$real(x: $real) -> $real {
  return bitcast<$real>(bitcast<$word>(x) ^ $word(nothing.y));
}

fn max_$real(a: $real, b: $real) -> $real {
  if (!is_number_$real(a)) { return a; }
  if (!is_number_$real(b)) { return b; }
  return max(a, b);
}

fn min_$real(a: $real, b: $real) -> $real {
  if (!is_number_$real(a)) { return a; }
  if (!is_number_$real(b)) { return b; }
  return min(a, b);
}

fn copysign_$real(size: $real, sign: $real) -> $real {
  return bitcast<$real>(bitcast<$word>(size) | (bitcast<$word>(sign) & ~$mask));
}

fn mod_$real(a: $real, b: $real) -> $real {
  let r = remainder_$real(a, b);
  if (r == $real()) { return copysign_$real($real(), b); }
  return select(r, r + b, (r < $real()) != (b < $real()));
}

fn remainder_$real(a: $real, b: $real) -> $real {
  let x = bitcast<$word>(a) & $mask;
  let y = bitcast<$word>(b) & $mask;
  if (y == $word() || x >= $inf || y > $inf) { return bitcast<$real>($nan | $word(nothing.x)); }
  if (x < y) { return a; }
  let lead = $word(1) << ${fraction}u;
  var e = max(x >> ${fraction}u, $word(1));
  let last = max(y >> ${fraction}u, $word(1));
  var m = select(x, (x & (lead - $word(1))) | lead, x >= lead);
  let divisor = select(y, (y & (lead - $word(1))) | lead, y >= lead);
  for (; e > last; e -= $word(1)) { m = (m % divisor) << 1u; }
  let size = $real(m % divisor) / $real(lead);
  return copysign_$real(size * bitcast<$real>(last << ${fraction}u), a);
}
