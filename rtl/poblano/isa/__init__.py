"""The command set, the registers and the weight streams: what software and hardware agree on."""
