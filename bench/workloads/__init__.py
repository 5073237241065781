"""What is measured, the same for every framework.

As plain data, `problem.py` says what each training step computes, and `kernel.py` each kernel. For
each framework a file says how its users would write them:

- `*_steps.py`: `load(compiled)` imports the framework, and `build(problem, compiled)` returns a
  function that takes one whole training step and returns its loss as a Python float;
- `*_kernels.py`: `put` and `get` carry arrays in and out, and `build(kernel, compiled)` returns a
  function from inputs to a list of results, all of which are computed when it returns.
"""
