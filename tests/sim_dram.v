// A stand-in for a DRAM controller without a DRAM, for tests of the master that checks one: memory is 0, written data are
// lost, and some ids bring errors.
module dram_controller (
    input clk, rst,
    input [3:0] s_axi_awid, input [31:0] s_axi_awaddr, input [7:0] s_axi_awlen, input s_axi_awvalid, output s_axi_awready,
    input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wlast, input s_axi_wvalid, output s_axi_wready,
    output [3:0] s_axi_bid, output [1:0] s_axi_bresp, output s_axi_bvalid, input s_axi_bready,
    input [3:0] s_axi_arid, input [31:0] s_axi_araddr, input [7:0] s_axi_arlen, input s_axi_arvalid, output s_axi_arready,
    output [3:0] s_axi_rid, output [31:0] s_axi_rdata, output [1:0] s_axi_rresp, output s_axi_rlast, output s_axi_rvalid,
    input s_axi_rready,
    output [2:0] dram_row_op, output [1:0] dram_row_bank, output [12:0] dram_row_row,
    output [1:0] dram_column_op, output [1:0] dram_column_bank, output [7:0] dram_column_column,
    output [15:0] dram_write_data, output [1:0] dram_write_strb, input [15:0] dram_read_data
);
    localparam [3:0] RESP = 1, LAST = 2, ID = 3, UNSTABLE = 4, DATA = 5, WITHDRAWN = 6, EXTRA = 7, NEVER = 8, EARLY = 9;
    reg reading, writing, answering, blink;
    reg [3:0] id, wid;
    reg [7:0] left;
    assign {dram_row_op, dram_row_bank, dram_row_row, dram_column_op, dram_column_bank, dram_column_column} = 0;
    assign {dram_write_data, dram_write_strb} = 0;
    assign s_axi_arready = !reading;
    assign s_axi_rvalid = reading && id != NEVER && !(id == WITHDRAWN && blink);
    assign s_axi_rid = id == ID ? 0 : id;
    assign s_axi_rdata = id == DATA || (id == UNSTABLE && blink && !s_axi_rready);
    assign s_axi_rresp = id == RESP ? 2 : 0;
    assign s_axi_rlast = (left == 0) ^ (id == LAST);
    assign s_axi_awready = !writing && !answering;
    assign s_axi_wready = writing;
    assign s_axi_bvalid = answering || (wid == EARLY && writing);
    assign s_axi_bid = wid == ID ? 0 : wid;
    assign s_axi_bresp = wid == RESP ? 2 : 0;
    always @(posedge clk) begin
        blink <= !blink;
        if (s_axi_arvalid && s_axi_arready) begin
            reading <= 1;
            id <= s_axi_arid;
            left <= s_axi_arlen + (s_axi_arid == EXTRA);
        end
        if (s_axi_rvalid && s_axi_rready) begin
            left <= left - 1;
            if (left == 0) reading <= 0;
        end
        if (s_axi_awvalid && s_axi_awready) begin
            writing <= 1;
            wid <= s_axi_awid;
        end
        if (s_axi_wvalid && s_axi_wready && s_axi_wlast) begin
            writing <= 0;
            answering <= 1;
        end
        if (s_axi_bvalid && s_axi_bready) answering <= 0;
        if (rst) {reading, writing, answering, blink} <= 0;
    end
endmodule
