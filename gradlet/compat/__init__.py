"""Scripts that say `from tinygrad import Tensor`, run on gradlet without a change.

`stand_in` has the modules under tinygrad's names, and what they are made of: gradlet's own, and
before those the files here, one for each of tinygrad's modules that is different.
"""

from __future__ import annotations

from gradlet.compat.stand_in import install_as_tinygrad

__all__ = ["install_as_tinygrad"]
