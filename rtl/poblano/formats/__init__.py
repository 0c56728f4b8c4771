"""Number formats: elements of blocks, and FP32 arithmetic."""
