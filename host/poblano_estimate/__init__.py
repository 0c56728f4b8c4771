"""What a chip takes for a step of a model: the compiler's commands, walked through the hardware's times."""
