// What yosys' models of the GW2A leave empty: the PLL as a wire, the multiplier and the block RAM without their registers.
module rPLL #(
  parameter FCLKIN = "100.0", parameter DYN_IDIV_SEL = "false", parameter IDIV_SEL = 0, parameter DYN_FBDIV_SEL = "false",
  parameter FBDIV_SEL = 0, parameter DYN_ODIV_SEL = "false", parameter ODIV_SEL = 8, parameter PSDA_SEL = "0000",
  parameter DYN_DA_EN = "false", parameter DUTYDA_SEL = "1000", parameter CLKOUT_FT_DIR = 1'b1, parameter CLKOUTP_FT_DIR = 1'b1,
  parameter CLKOUT_DLY_STEP = 0, parameter CLKOUTP_DLY_STEP = 0, parameter CLKOUTD3_SRC = "CLKOUT", parameter CLKFB_SEL = "internal",
  parameter CLKOUT_BYPASS = "false", parameter CLKOUTP_BYPASS = "false", parameter CLKOUTD_BYPASS = "false", parameter CLKOUTD_SRC = "CLKOUT",
  parameter DYN_SDIV_SEL = 2, parameter DEVICE = "GW2AR-18C"
) (
  output CLKOUT, CLKOUTP, CLKOUTD, CLKOUTD3, LOCK,
  input CLKIN, CLKFB, input [5:0] FBDSEL, IDSEL, ODSEL, input [3:0] DUTYDA, PSDA, FDLY, input RESET, RESET_P
);
  assign CLKOUT = CLKIN;
  assign LOCK = !RESET;
endmodule

module MULT9X9 #(
  parameter AREG = 1'b0, parameter BREG = 1'b0, parameter OUT_REG = 1'b0, parameter PIPE_REG = 1'b0, parameter ASIGN_REG = 1'b0,
  parameter BSIGN_REG = 1'b0, parameter SOA_REG = 1'b0, parameter MULT_RESET_MODE = "SYNC"
) (
  input [8:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET, output [17:0] DOUT, output [8:0] SOA, SOB
);
  wire signed [9:0] a = {ASIGN & A[8], A}, b = {BSIGN & B[8], B};
  wire signed [19:0] product = a * b;
  assign DOUT = product[17:0];
endmodule

module DPX9B #(
  parameter BIT_WIDTH_0 = 18, parameter BIT_WIDTH_1 = 18, parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0,
  parameter READ_MODE0 = 1'b0, parameter READ_MODE1 = 1'b0, parameter WRITE_MODE0 = 2'b00, parameter WRITE_MODE1 = 2'b00,
  parameter RESET_MODE = "SYNC",
  parameter [287:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0,
  parameter [287:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0,
  parameter [287:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0,
  parameter [287:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0,
  parameter [287:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0,
  parameter [287:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0,
  parameter [287:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0,
  parameter [287:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0
) (
  input CLKA, CEA, OCEA, RESETA, WREA, input [13:0] ADA, input [17:0] DIA, input [2:0] BLKSELA, output [17:0] DOA,
  input CLKB, CEB, OCEB, RESETB, WREB, input [13:0] ADB, input [17:0] DIB, input [2:0] BLKSELB, output [17:0] DOB
);
  // Words of 18 bits, of which a port of 9 takes a half. The output registers are not modelled.
  generate if (READ_MODE0 != 0 || READ_MODE1 != 0) unsupported_dpx9b fail(); endgenerate
  reg [17:0] words [0:1023];
  wire [18431:0] init = {INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00};
  integer i;
  initial for (i = 0; i < 1024; i = i + 1) words[i] = init[18*i +: 18];

  wire [17:0] nexta, nextb;
  wire writea, writeb;
  poblano_dpx9b_port #(.BIT_WIDTH(BIT_WIDTH_0), .BLK_SEL(BLK_SEL_0), .WRITE_MODE(WRITE_MODE0)) porta (.CLK(CLKA), .CE(CEA), .RESET(RESETA), .WRE(WREA),
    .AD(ADA[3:0]), .DI(DIA), .BLKSEL(BLKSELA), .DO(DOA), .old(words[ADA[13:4]]), .next(nexta), .write(writea));
  poblano_dpx9b_port #(.BIT_WIDTH(BIT_WIDTH_1), .BLK_SEL(BLK_SEL_1), .WRITE_MODE(WRITE_MODE1)) portb (.CLK(CLKB), .CE(CEB), .RESET(RESETB), .WRE(WREB),
    .AD(ADB[3:0]), .DI(DIB), .BLKSEL(BLKSELB), .DO(DOB), .old(words[ADB[13:4]]), .next(nextb), .write(writeb));
  always @(posedge CLKA) if (writea) words[ADA[13:4]] <= nexta;
  always @(posedge CLKB) if (writeb) words[ADB[13:4]] <= nextb;
endmodule

// A port: of the word `old` at its address, what it shows and what it writes.
module poblano_dpx9b_port #(parameter BIT_WIDTH = 18, parameter [2:0] BLK_SEL = 0, parameter WRITE_MODE = 2'b00) (
  input CLK, CE, RESET, WRE, input [3:0] AD, input [17:0] DI, input [2:0] BLKSEL, output [17:0] DO,
  input [17:0] old, output [17:0] next, output write
);
  wire selected = CE && BLKSEL == BLK_SEL;
  assign write = selected && WRE;
  assign next = BIT_WIDTH == 9 ? (AD[3] ? {DI[8:0], old[8:0]} : {old[17:9], DI[8:0]}) : {AD[1] ? DI[17:9] : old[17:9], AD[0] ? DI[8:0] : old[8:0]};
  wire [17:0] shown = WRE && WRITE_MODE == 1 ? next : old;
  reg [17:0] out = 0;
  assign DO = out;
  always @(posedge CLK) begin
    if (selected && (!WRE || WRITE_MODE != 0)) out <= BIT_WIDTH == 9 ? (AD[3] ? shown[17:9] : shown[8:0]) : shown;
    if (RESET) out <= 0;
  end
endmodule
