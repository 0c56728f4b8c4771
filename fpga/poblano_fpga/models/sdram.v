// A single-data-rate SDRAM of 16 bits and four banks at its pins, Micron's MT48LC16M16A2 with the times of its grade 7E.
//
// Only what a controller here may use: bursts of two words in sequence, CAS latency 2, no automatic precharge. Anything else,
// a command that the state of a bank or a time does not allow, and data that two drive, are told and counted in `errors`.
// The data pins are in two directions: host_dq while host_oe, dq while dq_oe.
module poblano_sdram #(
  parameter PERIOD_PS = 10000,
  parameter POWER_UP_US = 100
) (
  input clk,
  input cke,
  input cs_n,
  input ras_n,
  input cas_n,
  input we_n,
  input [1:0] ba,
  input [12:0] a,
  input [1:0] dqm,
  input [15:0] host_dq,
  input host_oe,
  output reg [15:0] dq,
  output reg dq_oe,
  output reg [31:0] errors
);
  localparam MODE = 0, REFRESH = 1, PRECHARGE = 2, ACTIVATE = 3, WRITE = 4, READ = 5, NOP = 7;
  localparam ROUND = PERIOD_PS - 1;
  localparam RCD = (15000 + ROUND) / PERIOD_PS, RP = (15000 + ROUND) / PERIOD_PS, RAS = (37000 + ROUND) / PERIOD_PS;
  localparam RC = (60000 + ROUND) / PERIOD_PS, RFC = (66000 + ROUND) / PERIOD_PS, RRD = (14000 + ROUND) / PERIOD_PS;
  localparam WR = (14000 + ROUND) / PERIOD_PS, POWER_UP = POWER_UP_US * 1000 * 1000 / PERIOD_PS;
  localparam MODE_CLOCKS = 2, REFRESHES_POSTPONED = 9;
  localparam LONGEST = 7812500 / PERIOD_PS * REFRESHES_POSTPONED;

  reg [15:0] memory [0:(1<<24)-1];
  reg [3:0] open;
  reg [12:0] row [0:3];
  reg [31:0] activated [0:3], precharged [0:3], written [0:3];  // when it was done last
  reg [31:0] now, refreshed, mode_set, last_activated, refreshes;
  reg mode_known, burst_write;
  reg [23:0] place, at;
  reg [1:0] coming;  // words that a read gives after this clock's
  reg [15:0] word0, word1;
  reg [2:0] command;
  integer n;

  task told(input [8*32-1:0] what);
    begin
      $display("SDRAM, clock %0d: %0s, bank %0d", now, what, ba);
      errors = errors + 1;
    end
  endtask

  function early(input [31:0] since, input [31:0] clocks);
    early = now - since < clocks;
  endfunction

  task precharge(input integer bank);
    if (open[bank]) begin
      if (early(activated[bank], RAS)) told("PRECHARGE before tRAS");
      if (early(written[bank], WR)) told("PRECHARGE before tWR");
      open[bank] = 0;
      precharged[bank] = now;
    end
  endtask

  task row_command;
    case (command)
      MODE: begin
        if (a != 13'h021) told("mode other than BL 2, CL 2");
        if (open != 0) told("MODE with an open bank");
        if (refreshes < 2) told("MODE before two refreshes");
        mode_known = 1;
        mode_set = now;
      end
      REFRESH: begin
        if (open != 0) told("REFRESH with an open bank");
        for (n = 0; n < 4; n = n + 1) if (early(precharged[n], RP)) told("REFRESH before tRP");
        refreshed = now;
        refreshes = refreshes + 1;
      end
      PRECHARGE: for (n = 0; n < 4; n = n + 1) if (a[10] || ba == n) precharge(n);
      ACTIVATE: begin
        if (open[ba]) told("ACTIVATE of an open bank");
        if (early(precharged[ba], RP)) told("ACTIVATE before tRP");
        if (early(activated[ba], RC)) told("ACTIVATE before tRC");
        if (early(last_activated, RRD)) told("ACTIVATE before tRRD");
        open[ba] = 1;
        row[ba] = a;
        activated[ba] = now;
        last_activated = now;
      end
      default: ;
    endcase
  endtask

  task write_word(input [23:0] to);
    begin
      if (!host_oe) told("write without data");
      if (!dqm[0]) memory[to][7:0] = host_dq[7:0];
      if (!dqm[1]) memory[to][15:8] = host_dq[15:8];
      written[to[10:9]] = now;
    end
  endtask

  task column_command;
    begin
      if (!open[ba]) told("READ or WRITE of a closed bank");
      if (early(activated[ba], RCD)) told("READ or WRITE before tRCD");
      if (a[10]) told("automatic precharge");
      if (burst_write || coming[1]) told("READ or WRITE within a burst");
      at = {row[ba], ba, a[8:0]};
      if (command == READ) begin
        coming = 2'b11;
        word0 = memory[at];
        word1 = memory[at ^ 1];
      end else begin
        write_word(at);
        place = at ^ 1;
      end
    end
  endtask

  initial begin
    {errors, now, refreshed, mode_set, last_activated, refreshes} = 0;
    {mode_known, burst_write, open, coming, dq_oe} = 0;
    for (n = 0; n < 4; n = n + 1) {activated[n], precharged[n], written[n]} = 0;
  end

  always @(posedge clk) begin
    now = now + 1;
    command = cke && !cs_n ? {ras_n, cas_n, we_n} : NOP;
    // After this clock: the next word of a read.
    dq_oe <= coming[0];
    dq <= coming[0] ? word0 : 16'ha5a5;
    if (host_oe && (coming[0] || dq_oe)) told("two drive the data");
    word0 = word1;
    coming = coming >> 1;
    if (command != NOP) begin
      if (now < POWER_UP) told("command before the end of power-up");
      if (early(refreshed, RFC)) told("command before tRFC");
      if (early(mode_set, MODE_CLOCKS)) told("command before tMRD");
      if (!mode_known && command > PRECHARGE) told("command before the mode register");
    end
    if (mode_known && now - refreshed == LONGEST) told("no refresh for too long");
    if (burst_write) write_word(place);
    if (command == READ || command == WRITE) column_command;
    else row_command;
    burst_write = command == WRITE;
    // A mask acts on the word that comes two clocks later.
    if (dqm[0]) word0[7:0] = 8'ha5;
    if (dqm[1]) word0[15:8] = 8'ha5;
  end
endmodule
