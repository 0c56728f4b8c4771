"""The matmul unit: systolic array, weight streams, exact block sums and the FP32 accumulator."""
