"""Small programs in LLVM's language for the tests of this folder."""

from __future__ import annotations

import ctypes

KERNELS = """
declare float @erff(float)
declare double @pow(double, double)

define void @nothing(ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
  ret void
}

; out[i] = a[i] + b[i] + 1, all int64.
define void @add(ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
entry:
  %a.at = getelementptr ptr, ptr %args, i64 1
  %b.at = getelementptr ptr, ptr %args, i64 2
  %out = load ptr, ptr %args
  %a = load ptr, ptr %a.at
  %b = load ptr, ptr %b.at
  br label %head
head:
  %i = phi i64 [ %begin, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %over
body:
  %p = getelementptr i64, ptr %a, i64 %i
  %q = getelementptr i64, ptr %b, i64 %i
  %r = getelementptr i64, ptr %out, i64 %i
  %x = load i64, ptr %p
  %y = load i64, ptr %q
  %sum = add i64 %x, %y
  %more.sum = add i64 %sum, 1
  store i64 %more.sum, ptr %r
  %next = add i64 %i, 1
  br label %head
over:
  ret void
}

; out[i] = a[0] + ... + a[n - 1], all int64, where the third argument points to n.
define void @gather(ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
entry:
  %a.at = getelementptr ptr, ptr %args, i64 1
  %n.at = getelementptr ptr, ptr %args, i64 2
  %out = load ptr, ptr %args
  %a = load ptr, ptr %a.at
  %n.ptr = load ptr, ptr %n.at
  %n = load i64, ptr %n.ptr
  br label %rows
rows:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %store ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %head, label %over
head:
  %j = phi i64 [ 0, %rows ], [ %j.next, %body ]
  %sum = phi i64 [ 0, %rows ], [ %sum.next, %body ]
  %inside = icmp slt i64 %j, %n
  br i1 %inside, label %body, label %store
body:
  %p = getelementptr i64, ptr %a, i64 %j
  %x = load i64, ptr %p
  %sum.next = add i64 %sum, %x
  %j.next = add i64 %j, 1
  br label %head
store:
  %r = getelementptr i64, ptr %out, i64 %i
  store i64 %sum, ptr %r
  %i.next = add i64 %i, 1
  br label %rows
over:
  ret void
}

define float @error_function(float %x) {
  %y = call float @erff(float %x)
  ret float %y
}

define double @power(double %x, double %y) {
  %z = call double @pow(double %x, double %y)
  ret double %z
}

; out[0:16] *= 2, float32.
define void @double_sixteen(ptr %out) {
  %v = load <16 x float>, ptr %out, align 4
  %w = fadd <16 x float> %v, %v
  store <16 x float> %w, ptr %out, align 4
  ret void
}
"""

SYMBOLS = ["nothing", "add", "gather", "error_function", "power", "double_sixteen"]

KERNEL_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
