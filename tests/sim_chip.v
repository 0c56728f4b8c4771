// A stand-in for the chip, for tests of the simulation's memory and registers: reads and writes bursts, and counts cycles.
module chip #(parameter WIDTH = `WIDTH) (
    input clk, rst,
    output irq,
    output [2:0] trace_start, trace_done,
    input [11:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
    input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
    output reg [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
    input [11:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
    output reg [31:0] s_axil_rdata, output reg [1:0] s_axil_rresp, output reg s_axil_rvalid, input s_axil_rready,
    output [2:0] m_axi_awid, output [31:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
    output [1:0] m_axi_awburst, output m_axi_awvalid, input m_axi_awready,
    output [WIDTH-1:0] m_axi_wdata, output [WIDTH/8-1:0] m_axi_wstrb, output m_axi_wlast, output m_axi_wvalid,
    input m_axi_wready,
    input [2:0] m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
    output [2:0] m_axi_arid, output [31:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize,
    output [1:0] m_axi_arburst, output m_axi_arvalid, input m_axi_arready,
    input [2:0] m_axi_rid, input [WIDTH-1:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
    input m_axi_rvalid, output m_axi_rready
);
    localparam SIZE = $clog2(WIDTH / 8);
    // Registers: 0 source, 1 target, 2 beats in a burst - 1, 3 bursts, 4 strobes, 5 mode (1 read, 2 write, 4 withdraw AR);
    // writing it starts. Read only: 6 cycles from the first AR to the first R, 7 to the end, 8 responses, 9 IDs and lasts.
    reg [31:0] regs [0:15];
    reg [WIDTH-1:0] buffer [0:1023];
    reg [1:0] mode;
    reg withdraw, running, counting, finished;
    reg [31:0] cycles, first, responses, wrong;
    reg [31:0] ar_bursts, r_beats, aw_bursts, w_beats, b_bursts;
    wire [31:0] burst_bytes = (regs[2] + 1) << SIZE;
    wire [31:0] beats = (regs[2] + 1) * regs[3];
    reg started;

    assign m_axi_arvalid = mode[0] && running && ar_bursts != regs[3] && !(withdraw && cycles[0]);
    assign m_axi_araddr = regs[0] + ar_bursts * burst_bytes;
    assign m_axi_arid = ar_bursts[2:0];
    assign m_axi_arlen = regs[2][7:0];
    assign m_axi_arsize = SIZE;
    assign m_axi_arburst = 1;
    assign m_axi_rready = 1;
    assign m_axi_awvalid = mode[1] && running && aw_bursts != regs[3];
    assign m_axi_awaddr = regs[1] + aw_bursts * burst_bytes;
    assign m_axi_awid = aw_bursts[2:0];
    assign m_axi_awlen = regs[2][7:0];
    assign m_axi_awsize = SIZE;
    assign m_axi_awburst = 1;
    assign m_axi_wvalid = mode[1] && running && w_beats != beats;
    assign m_axi_wdata = buffer[w_beats[9:0]];
    assign m_axi_wstrb = regs[4][WIDTH/8-1:0];
    assign m_axi_wlast = (w_beats + 1) % (regs[2] + 1) == 0;
    assign m_axi_bready = 1;
    wire done = running && (!mode[0] || r_beats == beats) && (!mode[1] || b_bursts == regs[3]);
    assign irq = finished;
    assign trace_start = started ? 3'b101 : 0;
    assign trace_done = done ? 3'b100 : 0;

    wire write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
    wire read = s_axil_arvalid && !s_axil_rvalid;
    assign s_axil_awready = write, s_axil_wready = write, s_axil_arready = read;

    always @(posedge clk) begin
        started <= 0;
        if (s_axil_bready) s_axil_bvalid <= 0;
        if (s_axil_rready) s_axil_rvalid <= 0;
        if (write) begin
            s_axil_bvalid <= 1;
            s_axil_bresp <= s_axil_awaddr >= 12'h18 ? 2 : 0;
            if (s_axil_awaddr < 12'h18) regs[s_axil_awaddr[5:2]] <= s_axil_wdata;
            if (s_axil_awaddr == 12'h14) begin
                {withdraw, mode} <= s_axil_wdata[2:0];
                running <= s_axil_wdata != 0;
                started <= s_axil_wdata != 0;
                {finished, counting} <= 0;
                {cycles, first, responses, wrong, ar_bursts, r_beats, aw_bursts, w_beats, b_bursts} <= 0;
            end
        end
        if (read) begin
            s_axil_rvalid <= 1;
            s_axil_rresp <= s_axil_araddr > 12'h24 ? 2 : 0;
            case (s_axil_araddr[7:2])
                6: s_axil_rdata <= first;
                7: s_axil_rdata <= cycles;
                8: s_axil_rdata <= responses;
                9: s_axil_rdata <= wrong;
                default: s_axil_rdata <= regs[s_axil_araddr[5:2]];
            endcase
        end
        if (running) begin
            counting <= counting | m_axi_arvalid | m_axi_awvalid;
            cycles <= cycles + counting;
            if (m_axi_arvalid && m_axi_arready) ar_bursts <= ar_bursts + 1;
            if (m_axi_awvalid && m_axi_awready) aw_bursts <= aw_bursts + 1;
            if (m_axi_rvalid) begin
                if (r_beats == 0) first <= cycles + 1;
                if (m_axi_rlast != ((r_beats + 1) % (regs[2] + 1) == 0) || m_axi_rid != r_beats / (regs[2] + 1) % 8)
                    wrong <= wrong + 1;
                buffer[r_beats[9:0]] <= m_axi_rdata;
                r_beats <= r_beats + 1;
                responses[1:0] <= responses[1:0] | m_axi_rresp;
            end
            if (m_axi_wvalid && m_axi_wready) w_beats <= w_beats + 1;
            if (m_axi_bvalid) begin
                if (m_axi_bid != b_bursts % 8) wrong <= wrong + 1;
                b_bursts <= b_bursts + 1;
                responses[3:2] <= responses[3:2] | m_axi_bresp;
            end
            if (done) {running, finished} <= 1;
        end
        if (rst) {running, finished, counting, started, s_axil_bvalid, s_axil_rvalid, mode, withdraw} <= 0;
    end
endmodule
