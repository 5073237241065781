"""What users touch: `Tensor`, built from layers of methods, one file each."""
