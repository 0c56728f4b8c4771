// What yosys' models of the ECP5 leave empty: the PLL as a wire, the multiplier with registers of CLK0 or none, the block
// RAM, a pin of two directions, and an output at both edges that gives out the clock.
module TRELLIS_IO #(parameter DIR = "BIDIR") (input I, input T, output O, inout B);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

module ODDRX1F(input SCLK, input RST, input D0, input D1, output Q);
  assign Q = SCLK ? D0 : D1;
endmodule

module EHXPLLL #(
  parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter CLKOP_DIV = 8, parameter CLKOP_CPHASE = 0, parameter CLKOP_FPHASE = 0,
  parameter CLKOP_ENABLE = "ENABLED", parameter FEEDBK_PATH = "CLKOP", parameter PLLRST_ENA = "DISABLED", parameter INTFB_WAKE = "DISABLED",
  parameter STDBY_ENABLE = "DISABLED", parameter DPHASE_SOURCE = "DISABLED", parameter OUTDIVIDER_MUXA = "DIVA"
) (
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
  output CLKOP, LOCK
);
  assign CLKOP = CLKI;
  assign LOCK = !RST;
endmodule

module MULT18X18D #(
  parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTC_CLK = "NONE",
  parameter REG_PIPELINE_CLK = "NONE", parameter REG_OUTPUT_CLK = "NONE"
) (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  generate if (REG_INPUTC_CLK != "NONE" || REG_PIPELINE_CLK != "NONE") unsupported_mult18x18d fail(); endgenerate
  wire signed [18:0] a = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire signed [18:0] b = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg signed [18:0] ra = 0, rb = 0;
  reg [35:0] rp = 0;
  wire signed [18:0] xa = REG_INPUTA_CLK == "NONE" ? a : ra;
  wire signed [18:0] xb = REG_INPUTB_CLK == "NONE" ? b : rb;
  wire signed [37:0] product = xa * xb;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "NONE" ? product[35:0] : rp;
  always @(posedge CLK0) begin
    if (CE0) begin
      ra <= a;
      rb <= b;
      rp <= product[35:0];
    end
    if (RST0) begin
      ra <= 0;
      rb <= 0;
      rp <= 0;
    end
  end
endmodule

module DP16KD #(
  parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18, parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
  parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC", parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
  parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL", parameter GSR = "AUTO", parameter CLKAMUX = "CLKA",
  parameter CLKBMUX = "CLKB",
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0,
  parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0,
  parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
  parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0,
  parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
  parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
  parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0,
  parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  // The output registers are not modelled.
  generate if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000") unsupported_dp16kd fail(); endgenerate
  reg [17:0] words [0:1023];
  wire [20479:0] init = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  integer i;
  initial for (i = 0; i < 1024; i = i + 1) words[i] = init[20*i +: 18];
  reg [17:0] doa = 0, dob = 0;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;
  wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};

  // Port A: a word of 18 bits, of which narrower widths take a part; 36 bits are two words.
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [17:0] olda = words[ada[13:4]];
  reg [17:0] nexta;
  always @(*) begin
    nexta = olda;
    case (DATA_WIDTH_A)
      1: nexta[(ada[3] ? 9 : 0) + ada[2:0]] = dia[0];
      2: nexta[(ada[3] ? 9 : 0) + {ada[2:1], 1'b0} +: 2] = dia[1:0];
      4: nexta[(ada[3] ? 9 : 0) + {ada[2], 2'b0} +: 4] = dia[3:0];
      9: nexta[(ada[3] ? 9 : 0) +: 9] = dia[8:0];
      default: begin
        if (ada[0]) nexta[8:0] = dia[8:0];
        if (ada[1]) nexta[17:9] = dia[17:9];
      end
    endcase
  end
  function [17:0] parta(input [17:0] word, input [13:0] at);
    case (DATA_WIDTH_A)
      1: parta = word[(at[3] ? 9 : 0) + at[2:0]];
      2: parta = word[(at[3] ? 9 : 0) + {at[2:1], 1'b0} +: 2];
      4: parta = word[(at[3] ? 9 : 0) + {at[2], 2'b0} +: 4];
      9: parta = word[(at[3] ? 9 : 0) +: 9];
      default: parta = word;
    endcase
  endfunction

  // Port B: a word of 18 bits, of which narrower widths take a part; 36 bits are two words.
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] oldb = words[adb[13:4]];
  reg [17:0] nextb;
  always @(*) begin
    nextb = oldb;
    case (DATA_WIDTH_B)
      1: nextb[(adb[3] ? 9 : 0) + adb[2:0]] = dib[0];
      2: nextb[(adb[3] ? 9 : 0) + {adb[2:1], 1'b0} +: 2] = dib[1:0];
      4: nextb[(adb[3] ? 9 : 0) + {adb[2], 2'b0} +: 4] = dib[3:0];
      9: nextb[(adb[3] ? 9 : 0) +: 9] = dib[8:0];
      default: begin
        if (adb[0]) nextb[8:0] = dib[8:0];
        if (adb[1]) nextb[17:9] = dib[17:9];
      end
    endcase
  end
  function [17:0] partb(input [17:0] word, input [13:0] at);
    case (DATA_WIDTH_B)
      1: partb = word[(at[3] ? 9 : 0) + at[2:0]];
      2: partb = word[(at[3] ? 9 : 0) + {at[2:1], 1'b0} +: 2];
      4: partb = word[(at[3] ? 9 : 0) + {at[2], 2'b0} +: 4];
      9: partb = word[(at[3] ? 9 : 0) +: 9];
      default: partb = word;
    endcase
  endfunction

  generate
    if (DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36) begin : pseudo
      // One port writes, the other reads; the lower word is at DIA and DOA.
      always @(posedge CLKA) if (CEA && WEA) begin
        if (DATA_WIDTH_A == 36) begin
          if (ada[0]) words[{ada[13:5], 1'b0}][8:0] <= dia[8:0];
          if (ada[1]) words[{ada[13:5], 1'b0}][17:9] <= dia[17:9];
          if (ada[2]) words[{ada[13:5], 1'b1}][8:0] <= dib[8:0];
          if (ada[3]) words[{ada[13:5], 1'b1}][17:9] <= dib[17:9];
        end else words[ada[13:4]] <= nexta;
      end
      always @(posedge CLKB) begin
        if (CEB) begin
          doa <= words[{adb[13:5], 1'b0}];
          dob <= DATA_WIDTH_B == 36 ? words[{adb[13:5], 1'b1}] : partb(oldb, adb);
        end
        if (RSTB) begin
          doa <= 0;
          dob <= 0;
        end
      end
    end else begin : dual
      always @(posedge CLKA) begin
        if (CEA) begin
          if (WEA) words[ada[13:4]] <= nexta;
          if (!WEA || WRITEMODE_A == "READBEFOREWRITE") doa <= parta(olda, ada);
          else if (WRITEMODE_A == "WRITETHROUGH") doa <= parta(nexta, ada);
        end
        if (RSTA) doa <= 0;
      end
      always @(posedge CLKB) begin
        if (CEB) begin
          if (WEB) words[adb[13:4]] <= nextb;
          if (!WEB || WRITEMODE_B == "READBEFOREWRITE") dob <= partb(oldb, adb);
          else if (WRITEMODE_B == "WRITETHROUGH") dob <= partb(nextb, adb);
        end
        if (RSTB) dob <= 0;
      end
    end
  endgenerate
endmodule
