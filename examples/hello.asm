; The smallest program with an order: one unit writes a word, reads it back and copies it.
;
; All three commands are the DMA engine's. Commands of one unit take effect one after the other, so none of
; them needs a wait.

; A word into memory at 0x1000, in eight rows of 4 bytes: 32 bytes, one line. 0x6c6c6548 are the letters
; "Hell", the lowest byte first.
dma STORE_WORD mem_addr=0x1000 mem_stride=4 rows=8 value=0x6c6c6548 ; hello

; One line from there into line 5 of tile 0's vector memory. A line is 32 bytes; tiles=1 is the mask of
; tile 0 alone.
dma LOAD mem_addr=0x1000 rows=1 lines=1 dst=5 tiles=1

; Line 5 back into memory, at another place.
dma STORE mem_addr=0x2000 rows=1 lines=1 src=5 tile=0
