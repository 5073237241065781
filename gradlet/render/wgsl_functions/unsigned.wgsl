// Of $kind. Division by 0 it gives 0.

fn floordiv_$kind(a: $kind, b: $kind) -> $kind {
  let zero = $kind(nothing.x);
  if (b == zero) { return zero; }
  return a / b;
}

fn mod_$kind(a: $kind, b: $kind) -> $kind {
  let zero = $kind(nothing.x);
  if (b == zero) { return zero; }
  return a % b;
}

fn max_$kind(a: $kind, b: $kind) -> $kind { return max(a, b); }

fn min_$kind(a: $kind, b: $kind) -> $kind { return min(a, b); }
