// Division of $kind. By 0 it gives 0.

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
