; C = A B on a 4x4 array (preset nano): A is 4 x 32, FP32, at 0x1000; B is 32 x 8, INT8, at 0x2000; C is 4 x 8,
; FP32, at 0x3000.
;
; Four units work: the DMA engine and the vector unit prepare A, the stream unit brings B, the matmul unit
; multiplies. B comes as a stream of weights: it goes from memory through a FIFO into the array, without a place
; in the local memories.

; dma 1: A, a row of 32 numbers (128 bytes, 4 lines) after the other, into lines 0 to 15 of vector memory.
dma LOAD mem_addr=0x1000 mem_stride=128 rows=4 lines=4 dst=0 dst_stride=4 tiles=1 ; A

; tile0.stream 1: B. The array has 4 columns, so that B comes in two groups of 4 columns: for each group 32 rows
; of 4 bytes. The groups follow each other in memory, 128 bytes each. It waits for nothing.
tile0.stream STREAM mem_addr=0x2000 rows=1 row_bytes=256 ; B

; tile0.vector 1: each row of A becomes one block of activation memory: 32 elements of INT8 with a common scale,
; the largest magnitude of the block divided by 127.
tile0.vector VECTOR a=0 a_stride=4 rows=4 blocks=1 sink=QUANTISE activation=INT8 dst=0 dst_stride=1 tiles=1 wait dma>=1 ; INT8

; tile0.matmul 1: 4 rows of one block along K, times 2 groups of columns. The weights have no scale. A row of C is
; 8 numbers, one line: row m goes to line 32 + m. For its weights it waits by itself, for A it has to be told.
tile0.matmul MATMUL element=S8 scale=NONE activation=INT8 a=0 a_stride=1 rows=4 k_blocks=1 groups=2 dst=32 dst_stride=1 tiles=1 wait tile0.vector>=1 ; A B

; dma 2: C into memory.
dma STORE mem_addr=0x3000 mem_stride=32 rows=4 lines=1 src=32 src_stride=1 tile=0 wait tile0.matmul>=1 ; C
