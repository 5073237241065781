// Of $kind. Division rounds down. By 0 it gives 0; the least number by -1 gives itself.

fn floordiv_$kind(a: $kind, b: $kind) -> $kind {
  let zero = $kind(nothing.x);
  if (b == zero) { return zero; }
  if (b == ~zero) { return -a; }
  let r = a % b;
  return a / b - select(zero, $kind(1), r != zero && (r < zero) != (b < zero));
}

fn mod_$kind(a: $kind, b: $kind) -> $kind {
  let zero = $kind(nothing.x);
  if (b == zero || b == ~zero) { return zero; }
  let r = a % b;
  return r + select(zero, b, r != zero && (r < zero) != (b < zero));
}

fn max_$kind(a: $kind, b: $kind) -> $kind { return max(a, b); }

fn min_$kind(a: $kind, b: $kind) -> $kind { return min(a, b); }
