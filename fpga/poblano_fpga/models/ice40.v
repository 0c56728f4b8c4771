// What yosys' models of the iCE40 leave empty: the PLL, as a wire.
module SB_PLL40_PAD #(
  parameter FEEDBACK_PATH = "SIMPLE", parameter [3:0] DIVR = 0, parameter [6:0] DIVF = 0, parameter [2:0] DIVQ = 0,
  parameter [2:0] FILTER_RANGE = 0
) (
  input PACKAGEPIN, input RESETB, input BYPASS, input EXTFEEDBACK, input [7:0] DYNAMICDELAY, input LATCHINPUTVALUE, input SDI, input SCLK,
  output PLLOUTCORE, output PLLOUTGLOBAL, output LOCK, output SDO
);
  assign PLLOUTCORE = PACKAGEPIN;
  assign PLLOUTGLOBAL = PACKAGEPIN;
  assign LOCK = RESETB;
  assign SDO = 0;
endmodule
