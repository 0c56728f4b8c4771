// A memory of DEPTH words of WIDTH bits with a synchronous read port and a write port that writes GRANULARITY bits at a time.
// A read in the cycle of a write to the same word gives the old one. Replace the body by a macro for a process or an FPGA.
module poblano_sram #(
  parameter WIDTH = 32,
  parameter DEPTH = 16,
  parameter ADDR = 4,
  parameter GRANULARITY = WIDTH
) (
  input clk,
  input read__en,
  input [ADDR-1:0] read__addr,
  output reg [WIDTH-1:0] read__data,
  input [WIDTH/GRANULARITY-1:0] write__en,
  input [ADDR-1:0] write__addr,
  input [WIDTH-1:0] write__data
);
  reg [WIDTH-1:0] content [0:DEPTH-1];
  integer i;
  always @(posedge clk) begin
    if (read__en) read__data <= content[read__addr];
    for (i = 0; i < WIDTH / GRANULARITY; i = i + 1)
      if (write__en[i]) content[write__addr][i*GRANULARITY +: GRANULARITY] <= write__data[i*GRANULARITY +: GRANULARITY];
  end
endmodule
