// A DRAM behind a controller's command interface, one pseudo-channel of HBM or a device, for benches in Verilog.
//
// The pins are those of poblano.dram.signature. Of the DRAM the first 2^MEMORY_BITS bytes are there, in the order of the
// controller's addresses; the others read 0. Data of a read command are on the pins READ_LATENCY cycles after it, of a write
// WRITE_LATENCY, each for BURST_CYCLES cycles, low bytes first; cycles without data have a pattern. A read has what was on
// the pins for written data before the cycle of its command. A command that a bank's state does not allow is told and
// counted in `errors`; times between commands are not checked here. Where a kind of DRAM has no groups or no sideband,
// the pins have one bit and mean nothing.
module poblano_dram_device #(
  parameter GROUP_BITS = 2,
  parameter BANK_BITS = 2,
  parameter WAY_BITS = 1,
  parameter ROW_BITS = 15,
  parameter COLUMN_BITS = 5,
  parameter BURST_BYTES = 32,
  parameter BURST_CYCLES = 1,
  parameter SIDEBAND_BITS = 16,
  parameter READ_LATENCY = 10,
  parameter WRITE_LATENCY = 5,
  parameter MEMORY_BITS = 16,
  parameter BYTES = BURST_BYTES / BURST_CYCLES,
  parameter SIDEBAND = SIDEBAND_BITS > 0 ? SIDEBAND_BITS / BURST_CYCLES : 1
) (
  input clk,
  input rst,
  input [2:0] dram_row_op,
  input [(GROUP_BITS > 0 ? GROUP_BITS : 1)-1:0] dram_row_group,
  input [BANK_BITS-1:0] dram_row_bank,
  input [ROW_BITS-1:0] dram_row_row,
  input [1:0] dram_column_op,
  input [(GROUP_BITS > 0 ? GROUP_BITS : 1)-1:0] dram_column_group,
  input [BANK_BITS-1:0] dram_column_bank,
  input [COLUMN_BITS-1:0] dram_column_column,
  input [8*BYTES-1:0] dram_write_data,
  input [BYTES-1:0] dram_write_strb,
  input [SIDEBAND-1:0] dram_write_sideband,
  output reg [8*BYTES-1:0] dram_read_data,
  output reg [SIDEBAND-1:0] dram_read_sideband,
  output reg [31:0] errors
);
  localparam ACTIVATE = 1, PRECHARGE = 2, PRECHARGE_ALL = 3, REFRESH_ALL = 4, REFRESH_BANK = 5, READ = 1, WRITE = 2;
  localparam BURSTS = (1 << MEMORY_BITS) / BURST_BYTES;  // that are there
  localparam BANKS = 1 << (GROUP_BITS + BANK_BITS);
  localparam SET_BITS = GROUP_BITS + BANK_BITS - WAY_BITS;
  localparam READS = READ_LATENCY + BURST_CYCLES, WRITES = WRITE_LATENCY + BURST_CYCLES;

  reg [8*BURST_BYTES-1:0] memory [0:BURSTS-1];
  reg [SIDEBAND*BURST_CYCLES-1:0] sidebands [0:BURSTS-1];
  reg [BANKS-1:0] open;
  reg [ROW_BITS-1:0] rows [0:BANKS-1];

  // What comes on the pins, by cycles from this one.
  reg [8*BYTES-1:0] read_data [0:READS];
  reg [SIDEBAND-1:0] read_sideband [0:READS];
  reg [WRITES:0] write_valid;
  reg [63:0] write_burst [0:WRITES];
  integer write_part [0:WRITES];

  wire [31:0] row_number = (GROUP_BITS > 0 ? dram_row_group << BANK_BITS : 0) | dram_row_bank;
  wire [31:0] column_group = GROUP_BITS > 0 ? dram_column_group : 0;
  wire [31:0] column_number = column_group << BANK_BITS | dram_column_bank;

  reg [ROW_BITS-1:0] row;
  reg [SET_BITS-1:0] set;
  reg [GROUP_BITS+BANK_BITS-1:0] number;
  reg [63:0] burst;
  integer n;

  task told(input [8*24-1:0] what, input [31:0] number);
    begin
      $display("%m: %0s, group %0d, bank %0d", what, number >> BANK_BITS, number & ((1 << BANK_BITS) - 1));
      errors = errors + 1;
    end
  endtask

  task row_command;
    case (dram_row_op)
      ACTIVATE: begin
        if (open[row_number]) told("ACT of an open bank", row_number);
        open[row_number] = 1;
        rows[row_number] = dram_row_row;
      end
      PRECHARGE: open[row_number] = 0;
      PRECHARGE_ALL: open = 0;
      REFRESH_ALL: if (open != 0) told("REFAB with an open bank", 0);
      REFRESH_BANK: if (open[row_number]) told("REFPB of an open bank", row_number);
      default: if (dram_row_op != 0) told("unknown row command", row_number);
    endcase
  endtask

  // The burst's number is, from low to high, way, column, set and row, by which the set has been turned; bank and group
  // together are set and way.
  task column_command;
    begin
      row = rows[column_number];
      number = dram_column_bank << GROUP_BITS | column_group;
      set = (number >> WAY_BITS) - row + (row >> SET_BITS) - (row >> 2 * SET_BITS);
      burst = row;
      burst = burst << SET_BITS | set;
      burst = burst << COLUMN_BITS | dram_column_column;
      burst = burst << WAY_BITS | number & ((1 << WAY_BITS) - 1);
      if (!open[column_number]) begin
        told("RD or WR of a closed bank", column_number);
        burst = BURSTS;
      end
      for (n = 0; n < BURST_CYCLES; n = n + 1)
        if (dram_column_op == READ) begin
          read_data[READ_LATENCY + n] = burst < BURSTS ? memory[burst] >> 8 * BYTES * n : 0;
          read_sideband[READ_LATENCY + n] = burst < BURSTS ? sidebands[burst] >> SIDEBAND * n : 0;
        end else begin
          write_valid[WRITE_LATENCY + n] = burst < BURSTS;
          write_burst[WRITE_LATENCY + n] = burst;
          write_part[WRITE_LATENCY + n] = n;
        end
    end
  endtask

  task write_data;
    begin
      for (n = 0; n < BYTES; n = n + 1)
        if (dram_write_strb[n])
          memory[write_burst[0]][8 * (BYTES * write_part[0] + n) +: 8] = dram_write_data[8 * n +: 8];
      if (dram_write_strb != 0)
        sidebands[write_burst[0]][SIDEBAND * write_part[0] +: SIDEBAND] = dram_write_sideband;
    end
  endtask

  task nearer;
    begin
      for (n = 0; n < READS; n = n + 1) begin
        read_data[n] = read_data[n + 1];
        read_sideband[n] = read_sideband[n + 1];
      end
      read_data[READS] = {BYTES{8'ha5}};
      read_sideband[READS] = 0;
      write_valid = write_valid >> 1;
      for (n = 0; n < WRITES; n = n + 1) begin
        write_burst[n] = write_burst[n + 1];
        write_part[n] = write_part[n + 1];
      end
    end
  endtask

  initial begin
    for (n = 0; n < BURSTS; n = n + 1) begin
      memory[n] = 0;
      sidebands[n] = 0;
    end
    for (n = 0; n < BANKS; n = n + 1) rows[n] = 0;
    errors = 0;
  end

  always @(posedge clk)
    if (rst) begin
      open = 0;
      write_valid = 0;
      for (n = 0; n <= READS; n = n + 1) begin
        read_data[n] = {BYTES{8'ha5}};
        read_sideband[n] = 0;
      end
      dram_read_data <= {BYTES{8'ha5}};
      dram_read_sideband <= 0;
    end else begin
      row_command;
      if (dram_column_op != 0) column_command;
      if (write_valid[0]) write_data;
      nearer;
      dram_read_data <= read_data[0];
      dram_read_sideband <= read_sideband[0];
    end
endmodule
