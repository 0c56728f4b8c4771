// WIDTH bits, CYCLES cycles of en later.
module poblano_delay_line #(
  parameter WIDTH = 8,
  parameter CYCLES = 1
) (
  input clk,
  input en,
  input [WIDTH-1:0] i,
  output [WIDTH-1:0] o
);
  reg [WIDTH*CYCLES-1:0] line;
  wire [WIDTH*(CYCLES+1)-1:0] longer = {line, i};
  always @(posedge clk) if (en) line <= longer[WIDTH*CYCLES-1:0];
  assign o = longer[WIDTH*(CYCLES+1)-1:WIDTH*CYCLES];
endmodule
