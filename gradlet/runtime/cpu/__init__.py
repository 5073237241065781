"""The processor as a device: compile with LLVM, load, and run on worker threads."""
