"""What is measured, the same for every framework.

`problem.py` says what each workload computes, as plain data; one file a framework says how that
framework's users would write it. Each such file has two functions: `load(compiled)` imports the
framework, and `build(problem, compiled)` returns a function that takes one whole training step
and returns its loss as a Python float.
"""
