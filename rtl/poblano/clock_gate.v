// A clock that stands still while en is 0. Replace the body by the integrated clock-gating cell of a library.
module poblano_clock_gate (
  input clk,
  input en,
  output gclk
);
  // Transparent while clk is low, so that gclk has no glitches.
  reg open;
  always @* if (!clk) open = en;
  assign gclk = clk & open;
endmodule
