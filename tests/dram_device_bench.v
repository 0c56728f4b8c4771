// Drives the Verilog model of a DRAM with the lines of cycles.hex, and writes what it drives in each cycle.
`timescale 1ns / 1ns
module bench;
  parameter GROUP_BITS = 2, BANK_BITS = 2, WAY_BITS = 1, ROW_BITS = 4, COLUMN_BITS = 5, BURST_BYTES = 32, BURST_CYCLES = 1;
  parameter SIDEBAND_BITS = 16, READ_LATENCY = 10, WRITE_LATENCY = 5, MEMORY_BITS = 16;
  localparam GROUP = GROUP_BITS > 0 ? GROUP_BITS : 1, BYTES = BURST_BYTES / BURST_CYCLES;
  localparam SIDEBAND = SIDEBAND_BITS > 0 ? SIDEBAND_BITS / BURST_CYCLES : 1, CYCLES = 4000;
  localparam WIDTH = 5 + 2 * GROUP + 2 * BANK_BITS + ROW_BITS + COLUMN_BITS + 9 * BYTES + SIDEBAND;
  reg [WIDTH-1:0] cycles [0:CYCLES-1];
  reg clk = 0, rst = 1;
  reg [2:0] row_op;
  reg [GROUP-1:0] row_group, column_group;
  reg [BANK_BITS-1:0] row_bank, column_bank;
  reg [ROW_BITS-1:0] row;
  reg [1:0] column_op;
  reg [COLUMN_BITS-1:0] column;
  reg [8*BYTES-1:0] data;
  reg [BYTES-1:0] strb;
  reg [SIDEBAND-1:0] sideband;
  wire [8*BYTES-1:0] read_data;
  wire [SIDEBAND-1:0] read_sideband;
  wire [31:0] errors;
  integer n;
  poblano_dram_device #(
    .GROUP_BITS(GROUP_BITS), .BANK_BITS(BANK_BITS), .WAY_BITS(WAY_BITS), .ROW_BITS(ROW_BITS), .COLUMN_BITS(COLUMN_BITS),
    .BURST_BYTES(BURST_BYTES), .BURST_CYCLES(BURST_CYCLES), .SIDEBAND_BITS(SIDEBAND_BITS), .READ_LATENCY(READ_LATENCY),
    .WRITE_LATENCY(WRITE_LATENCY), .MEMORY_BITS(MEMORY_BITS)
  ) device (
    .clk(clk), .rst(rst), .dram_row_op(row_op), .dram_row_group(row_group), .dram_row_bank(row_bank), .dram_row_row(row),
    .dram_column_op(column_op), .dram_column_group(column_group), .dram_column_bank(column_bank),
    .dram_column_column(column), .dram_write_data(data), .dram_write_strb(strb), .dram_write_sideband(sideband),
    .dram_read_data(read_data), .dram_read_sideband(read_sideband), .errors(errors)
  );
  initial begin
    $readmemh("cycles.hex", cycles);
    {row_op, column_op} = 0;
    #1 clk = 1;
    #1 clk = 0;
    rst = 0;
    for (n = 0; n < CYCLES; n = n + 1) begin
      {row_op, row_group, row_bank, row, column_op, column_group, column_bank, column, data, strb, sideband} = cycles[n];
      #1 $display("%h %h", read_data, read_sideband);
      clk = 1;
      #1 clk = 0;
    end
  end
endmodule
