; A mistake to find: the program vector_add.asm, in which the vector unit does not wait for the DMA engine. It may
; add before the vectors have come. On the golden model, which takes commands in this order where it can, the sum
; is right all the same.

dma LOAD mem_addr=0x1000 rows=1 lines=8 dst=0 tiles=1 ; a
dma LOAD mem_addr=0x1100 rows=1 lines=8 dst=8 tiles=1 ; b
tile0.vector VECTOR op1=ADD sel1=B a=0 b=8 rows=1 blocks=2 sink=VMEM dst=16 tiles=1 ; a + b
dma STORE mem_addr=0x2000 rows=1 lines=8 src=16 tile=0 wait tile0.vector>=1 ; c
