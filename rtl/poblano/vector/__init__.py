"""The vector unit: element-wise operations, special functions, reductions and quantising."""
