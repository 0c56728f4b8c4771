// What yosys' models of the GW2A leave empty: the PLL as a wire, and the multiplier without its registers.
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
