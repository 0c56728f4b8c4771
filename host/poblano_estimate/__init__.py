"""What a chip takes for a step of a model, estimated: the compiler's commands, walked through the times of the
hardware."""
