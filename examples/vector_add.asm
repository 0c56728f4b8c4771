; c = a + b for vectors of 64 FP32 numbers: a at 0x1000, b at 0x1100, c at 0x2000.
;
; Two units work here: the DMA engine moves lines (32 bytes, 8 numbers) and the vector unit adds. They do not
; know of each other: a command waits until the other unit has completed as many commands as it says.

; The DMA engine's commands number 1 and 2: a into lines 0 to 7 of tile 0's vector memory, b into lines 8 to 15.
dma LOAD mem_addr=0x1000 rows=1 lines=8 dst=0 tiles=1 ; a
dma LOAD mem_addr=0x1100 rows=1 lines=8 dst=8 tiles=1 ; b

; The vector unit's command number 1. Both operands are in memory when the DMA engine has completed 2 commands.
; blocks counts 32 elements each. op1=ADD adds operand b (sel1=B) to operand a; sink=VMEM writes the sum to
; vector memory, line 16 on, of the tiles in the mask.
tile0.vector VECTOR op1=ADD sel1=B a=0 b=8 rows=1 blocks=2 sink=VMEM dst=16 tiles=1 wait dma>=2 ; a + b

; The DMA engine's command number 3: lines 16 to 23 into memory, when the vector unit has written them.
dma STORE mem_addr=0x2000 rows=1 lines=8 src=16 tile=0 wait tile0.vector>=1 ; c
