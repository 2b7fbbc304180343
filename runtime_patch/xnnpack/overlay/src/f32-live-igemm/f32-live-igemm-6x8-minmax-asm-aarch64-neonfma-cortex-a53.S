// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/assembly.h"

// The micro-kernels of f32-live-igemm-6x8-minmax-aarch64-neonfma.c, for cores that begin instructions in the order of
// the program, as a Cortex-A53 does. There a load of 128 bits takes two cycles alone. Loaded are 64 bits to a vector,
// beside which the upper half of another vector is inserted, and 64 bits to a general register, beside a FMLA. All sums
// are added up in the order of the other file: the bits are the same.
//
// void xnn_f32_live_igemm_minmax_ukernel_{1,2,3,4,5,6}x8__asm_aarch64_neonfma_cortex_a53(
//   size_t nc,                  x0
//   size_t kc,                  x1
//   size_t num_taps,            x2 -> the end of tap_offsets
//   const void** a,             x3
//   const size_t* tap_offsets,  x4
//   const void* bias,           x5
//   const void* w,              x6
//   size_t w_stride,            x7
//   void* c,                    [sp]
//   size_t cm_stride,           [sp + 8]
//   const uint32_t* c_rows,     [sp + 16]
//   size_t a_offset,            [sp + 24] -> x27
//   const void* zero,           [sp + 32] -> x28
//   const void* params)         [sp + 40]

// Registers
// c of row m     x9 + m
// a of row m     x19 + m
// weights        x15
// channels left  x17
// next pointers  x25
// next tap       x26
// upper halves   x8, x16, in turn
// sums of row m  v20 + 2m, v21 + 2m
// min, max       v6, v7
//
// A group is two channels of the input of all rows, two rows to a vector, and their weights in four vectors. While one
// is multiplied, the other one is loaded.
// group 0        v0 to v2, v16 to v19
// group 1        v3 to v5, v12 to v15

// Arguments behind % are computed. What follows uses ROWS, and what LIVE_IGEMM makes of it:
// PAIRS   vectors with inputs of a group
// LOADS   all its vectors
// BLOCKS  of instructions, each of which begins with a load
// MOST    products in a block. In the fourth cycle behind a FMLA a Cortex-A53 loads no vector: so up to three, and where
//         six rows have some left, a block that has no load.
.altmacro

.macro FMLA_OF sum, weights, inputs, lane
        FMLA        v\sum\().4s, v\weights\().4s, v\inputs\().s[\lane]
.endm

// The products of a group in turn: of the first channel and the first four outputs, all rows, then the next four.
.macro PRODUCT group, at
        FMLA_OF %(20 + 2 * (\at % ROWS) + \at / ROWS % 2), %(16 - 4 * \group + \at / ROWS), %(3 * \group + \at % ROWS / 2), %(2 * (\at % ROWS % 2) + \at / (2 * ROWS))
.endm

.macro LOAD_INPUTS_LOW vector, a
        LDR         d\vector, [x\a], 8
.endm

.macro LOAD_INPUTS_HIGH half, a
        LDR         x\half, [x\a], 8
.endm

.macro LOAD_WEIGHTS_LOW vector, offset
        LDR         d\vector, [x15, \offset]
.endm

.macro LOAD_WEIGHTS_HIGH half, offset
        LDR         x\half, [x15, \offset]
.endm

.macro INSERT vector, half
        INS         v\vector\().d[1], x\half
.endm

// The lower half of a vector of a group.
.macro LOW group, offset, at
    .if \at < PAIRS
        LOAD_INPUTS_LOW %(3 * \group + \at), %(19 + 2 * \at)
    .else
        LOAD_WEIGHTS_LOW %(16 - 4 * \group + \at - PAIRS), %(\offset + 16 * (\at - PAIRS))
    .endif
.endm

// The upper half, to a register. The last one of an odd number of rows has none.
.macro HIGH group, offset, at
    .if \at >= PAIRS
        LOAD_WEIGHTS_HIGH %(8 + 8 * ((\group * LOADS + \at) % 2)), %(\offset + 16 * (\at - PAIRS) + 8)
    .elseif 2 * \at + 1 < ROWS
        LOAD_INPUTS_HIGH %(8 + 8 * ((\group * LOADS + \at) % 2)), %(20 + 2 * \at)
    .endif
.endm

// And from there to the vector.
.macro UPPER group, at
    .if \at >= PAIRS
        INSERT %(16 - 4 * \group + \at - PAIRS), %(8 + 8 * ((\group * LOADS + \at) % 2))
    .elseif 2 * \at + 1 < ROWS
        INSERT %(3 * \group + \at), %(8 + 8 * ((\group * LOADS + \at) % 2))
    .endif
.endm

// Loads a group, but for its last upper halves: each is inserted two blocks behind its load, those of the last two
// blocks by MULTIPLY.
.macro LOAD group, offset
    .set block, 0
    .rept BLOCKS
      .if block < LOADS
        LOW \group, \offset, %(block)
      .endif
      .if block >= 2
        UPPER \group, %(block - 2)
      .endif
      .if block < LOADS
        HIGH \group, \offset, %(block)
      .endif
      .set block, block + 1
    .endr
.endm

// Multiplies a group; with loads = 1 the other group is loaded meanwhile.
.macro MULTIPLY group, offset, loads
    .set block, 0
    .set at, 0
    .rept BLOCKS
      .set load, \loads && (block < LOADS)
      .if load
        LOW %(1 - \group), \offset, %(block)
      .endif
      .if BLOCKS - 2 + block < LOADS
        UPPER \group, %(BLOCKS - 2 + block)
      .elseif \loads && (block >= 2)
        UPPER %(1 - \group), %(block - 2)
      .endif
      .rept MOST
       .if at < 4 * ROWS
        PRODUCT \group, %(at)
        .set at, at + 1
       .endif
       .if load
        HIGH %(1 - \group), \offset, %(block)
        .set load, 0
       .endif
      .endr
      .set block, block + 1
    .endr
.endm

.macro FOR_EACH_ROW do
    .set row, 0
    .rept ROWS
        \do %(row)
      .set row, row + 1
    .endr
.endm

.macro ROW_POINTER_OF c
        LDR         w8, [x26], 4                // its row in c
        MADD        x\c, x8, x17, x25
.endm

.macro ROW_POINTER row
        ROW_POINTER_OF %(9 + \row)
.endm

.macro BIAS_OF low, high
        MOV         v\low\().16b, v20.16b
        MOV         v\high\().16b, v21.16b
.endm

.macro BIAS row
    .if \row != 0
        BIAS_OF %(20 + 2 * \row), %(21 + 2 * \row)
    .endif
.endm

.macro INPUT_POINTER_OF a
        LDR         x8, [x25], 8
        ADD         x\a, x8, x27                // a += a_offset
        CMP         x8, x28                     // if a == zero
        CSEL        x\a, x8, x\a, EQ            //   a = zero
.endm

.macro INPUT_POINTER row
        INPUT_POINTER_OF %(19 + \row)
.endm

.macro LOAD_INPUT_OF input, a
        LDR         s\input, [x\a], 4
.endm

.macro LOAD_INPUT row
        LOAD_INPUT_OF \row, %(19 + \row)
.endm

.macro PRODUCTS_OF input, low, high
        FMLA        v\low\().4s, v16.4s, v\input\().s[0]
        FMLA        v\high\().4s, v17.4s, v\input\().s[0]
.endm

.macro PRODUCTS row
        PRODUCTS_OF \row, %(20 + 2 * \row), %(21 + 2 * \row)
.endm

.macro CLAMP_OF low, high
        FMIN        v\low\().4s, v\low\().4s, v7.4s
        FMIN        v\high\().4s, v\high\().4s, v7.4s
        FMAX        v\low\().4s, v\low\().4s, v6.4s
        FMAX        v\high\().4s, v\high\().4s, v6.4s
.endm

.macro CLAMP row
        CLAMP_OF %(20 + 2 * \row), %(21 + 2 * \row)
.endm

.macro STORE_8_OF c, low, high
        STP         q\low, q\high, [x\c], 32
.endm

.macro STORE_8 row
        STORE_8_OF %(9 + \row), %(20 + 2 * \row), %(21 + 2 * \row)
.endm

.macro STORE_4_OF c, low, high
        STR         q\low, [x\c], 16
        MOV         v\low\().16b, v\high\().16b
.endm

.macro STORE_4 row
        STORE_4_OF %(9 + \row), %(20 + 2 * \row), %(21 + 2 * \row)
.endm

.macro STORE_2_OF c, low
        STR         d\low, [x\c], 8
        DUP         d\low, v\low\().d[1]
.endm

.macro STORE_2 row
        STORE_2_OF %(9 + \row), %(20 + 2 * \row)
.endm

.macro STORE_1_OF c, low
        STR         s\low, [x\c]
.endm

.macro STORE_1 row
        STORE_1_OF %(9 + \row), %(20 + 2 * \row)
.endm

.macro LIVE_IGEMM rows
    .set ROWS, \rows
    .set PAIRS, (ROWS + 1) / 2
    .set LOADS, PAIRS + 4
    .set BLOCKS, LOADS + ROWS / 6
    .set MOST, 1 + ROWS / 2 - ROWS / 6
        STP         d12, d13, [sp, -112]!
        STP         d14, d15, [sp, 16]
        STP         x19, x20, [sp, 32]
        STP         x21, x22, [sp, 48]
        STP         x23, x24, [sp, 64]
        STP         x25, x26, [sp, 80]
        STP         x27, x28, [sp, 96]

        LDP         x25, x17, [sp, 112]         // c, cm_stride
        LDP         x26, x27, [sp, 128]         // c_rows, a_offset
        LDP         x28, x8, [sp, 144]          // zero, params
        LD2R        {v6.4s, v7.4s}, [x8]        // min, max
        ADD         x2, x4, x2, LSL 3
        FOR_EACH_ROW ROW_POINTER

0:      // Eight outputs
        LDP         q20, q21, [x5], 32          // bias
        FOR_EACH_ROW BIAS
        MOV         x25, x3
        MOV         x26, x4
        CMP         x26, x2
        B.EQ        7f

1:      // A tap
        LDR         x15, [x26], 8
        FOR_EACH_ROW INPUT_POINTER
        ADD         x15, x15, x6
        SUBS        x17, x1, 16                 // four channels
        B.LO        4f

        LOAD 0, 0
        SUBS        x17, x17, 16
        ADD         x15, x15, 64
        B.LO        3f

2:      // Four channels, and loads of the next two
        MULTIPLY 0, 0, 1
        SUBS        x17, x17, 16
        ADD         x15, x15, 128
        MULTIPLY 1, -64, 1
        B.HS        2b

3:      // The last four channels
        MULTIPLY 0, 0, 1
        ADD         x15, x15, 64
        MULTIPLY 1, 0, 0

4:      // Two channels, if the number has a part of two
        TBZ         x1, 3, 5f
        LOAD 0, 0
        ADD         x15, x15, 64
        MULTIPLY 0, 0, 0

5:      // One channel
        TBZ         x1, 2, 6f
        LDP         q16, q17, [x15]
        FOR_EACH_ROW LOAD_INPUT
        FOR_EACH_ROW PRODUCTS
6:      // The next tap
        CMP         x26, x2
        B.NE        1b

7:      // Clamp and store
        ADD         x6, x6, x7                  // the next block of weights
        FOR_EACH_ROW CLAMP
        SUBS        x0, x0, 8
        B.LO        8f
        FOR_EACH_ROW STORE_8
        B.NE        0b
        B           9f

8:      // The last outputs, fewer than eight
        TBZ         x0, 2, 10f
        FOR_EACH_ROW STORE_4
10:
        TBZ         x0, 1, 11f
        FOR_EACH_ROW STORE_2
11:
        TBZ         x0, 0, 9f
        FOR_EACH_ROW STORE_1

9:
        LDP         x27, x28, [sp, 96]
        LDP         x25, x26, [sp, 80]
        LDP         x23, x24, [sp, 64]
        LDP         x21, x22, [sp, 48]
        LDP         x19, x20, [sp, 32]
        LDP         d14, d15, [sp, 16]
        LDP         d12, d13, [sp], 112
        RET
.endm

// Defines the micro-kernel for so many rows, and puts it into the table.
.macro UKERNEL rows, name
    .pushsection .data.rel.ro, "aw"
        .quad       \name
    .popsection
BEGIN_FUNCTION \name
        LIVE_IGEMM \rows
END_FUNCTION \name
.endm

    .pushsection .data.rel.ro, "aw"
    .p2align 3
    .global xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53
    .internal xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53
    .type xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53, %object
    .size xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53, 6 * 8
xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53:
    .popsection

UKERNEL 1, xnn_f32_live_igemm_minmax_ukernel_1x8__asm_aarch64_neonfma_cortex_a53
UKERNEL 2, xnn_f32_live_igemm_minmax_ukernel_2x8__asm_aarch64_neonfma_cortex_a53
UKERNEL 3, xnn_f32_live_igemm_minmax_ukernel_3x8__asm_aarch64_neonfma_cortex_a53
UKERNEL 4, xnn_f32_live_igemm_minmax_ukernel_4x8__asm_aarch64_neonfma_cortex_a53
UKERNEL 5, xnn_f32_live_igemm_minmax_ukernel_5x8__asm_aarch64_neonfma_cortex_a53
UKERNEL 6, xnn_f32_live_igemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a53

#ifdef __ELF__
.section ".note.GNU-stack","",%progbits
#endif
