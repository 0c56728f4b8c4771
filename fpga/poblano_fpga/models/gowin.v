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

  wire [17:0] olda = words[ADA[13:4]];
  wire [17:0] nexta = BIT_WIDTH_0 == 9 ? (ADA[3] ? {DIA[8:0], olda[8:0]} : {olda[17:9], DIA[8:0]}) :
                      {ADA[1] ? DIA[17:9] : olda[17:9], ADA[0] ? DIA[8:0] : olda[8:0]};
  wire [17:0] showna = WREA && WRITE_MODE0 == 1 ? nexta : olda;
  reg [17:0] outa = 0;
  assign DOA = outa;
  always @(posedge CLKA) begin
    if (CEA && BLKSELA == BLK_SEL_0) begin
      if (WREA) words[ADA[13:4]] <= nexta;
      if (!WREA || WRITE_MODE0 != 0) outa <= BIT_WIDTH_0 == 9 ? (ADA[3] ? showna[17:9] : showna[8:0]) : showna;
    end
    if (RESETA) outa <= 0;
  end

  wire [17:0] oldb = words[ADB[13:4]];
  wire [17:0] nextb = BIT_WIDTH_1 == 9 ? (ADB[3] ? {DIB[8:0], oldb[8:0]} : {oldb[17:9], DIB[8:0]}) :
                      {ADB[1] ? DIB[17:9] : oldb[17:9], ADB[0] ? DIB[8:0] : oldb[8:0]};
  wire [17:0] shownb = WREB && WRITE_MODE1 == 1 ? nextb : oldb;
  reg [17:0] outb = 0;
  assign DOB = outb;
  always @(posedge CLKB) begin
    if (CEB && BLKSELB == BLK_SEL_1) begin
      if (WREB) words[ADB[13:4]] <= nextb;
      if (!WREB || WRITE_MODE1 != 0) outb <= BIT_WIDTH_1 == 9 ? (ADB[3] ? shownb[17:9] : shownb[8:0]) : shownb;
    end
    if (RESETB) outb <= 0;
  end
endmodule
