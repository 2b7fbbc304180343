// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/live-taps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/log.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator-utils.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/tap-geometry.h"

// Row of the matrix: where it is, and which of its taps are dead: a bit each for those that read padding, and above
// them for those that read the fill row.
struct row {
  uint64_t dead_taps;
  uint32_t index;
  // The pixel of the input that the first tap reads, if no tap reads padding.
  uint32_t input_pixel;
};

// Bits of a digit by which rows are sorted: those of the taps of a 3x3 kernel are in one for padding and one for fill.
#define DIGIT_BITS 11
#define NUM_DIGITS (1 << DIGIT_BITS)

// Sorts rows by their dead taps, those that are equal as they were: a radix sort, because in most masks few bits differ
// and in some none. The result is in rows; other has room for as many.
static void sort_rows(struct row* rows, struct row* other, size_t num_rows)
{
  uint64_t any = 0;
  uint64_t all = UINT64_MAX;
  for (size_t i = 0; i < num_rows; i++) {
    any |= rows[i].dead_taps;
    all &= rows[i].dead_taps;
  }
  const uint64_t differing = any ^ all;
  const uint32_t shifts[] = {0, DIGIT_BITS, 2 * DIGIT_BITS, 32, 32 + DIGIT_BITS, 32 + 2 * DIGIT_BITS};
  struct row* from = rows;
  struct row* to = other;
  for (size_t pass = 0; pass < XNN_COUNT_OF(shifts); pass++) {
    const uint32_t shift = shifts[pass];
    if ((differing >> shift & (NUM_DIGITS - 1)) == 0) {
      continue;
    }
    uint32_t starts[NUM_DIGITS + 1] = {0};
    for (size_t i = 0; i < num_rows; i++) {
      starts[(from[i].dead_taps >> shift & (NUM_DIGITS - 1)) + 1]++;
    }
    for (size_t digit = 0; digit < NUM_DIGITS; digit++) {
      starts[digit + 1] += starts[digit];
    }
    for (size_t i = 0; i < num_rows; i++) {
      to[starts[from[i].dead_taps >> shift & (NUM_DIGITS - 1)]++] = from[i];
    }
    struct row* sorted = to;
    to = from;
    from = sorted;
  }
  if (from != rows) {
    memcpy(rows, from, num_rows * sizeof(struct row));
  }
}

// The pixel that a row of the output is.
static inline size_t row_pixel(const struct xnn_operator* op, size_t row)
{
  return op->masked.pixels.mask != NULL ? op->masked.pixels.mask->kept[row] : row;
}

static inline size_t count_live_taps(uint64_t dead_taps, size_t kernel_size)
{
  // Adds bits in parallel: compilers call a function for what not all processors have an instruction for.
  uint32_t bits = (uint32_t) (dead_taps | dead_taps >> 32);
  bits -= bits >> 1 & UINT32_C(0x55555555);
  bits = (bits & UINT32_C(0x33333333)) + (bits >> 2 & UINT32_C(0x33333333));
  bits = (bits + (bits >> 4)) & UINT32_C(0x0F0F0F0F);
  return kernel_size - (bits * UINT32_C(0x01010101) >> 24);
}

// The dead taps of a row whose taps are all inside of the input. Whether a pixel is skipped is hard to predict: no
// branch depends on it.
static inline uint64_t
find_fill_taps(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, const uint32_t* rank)
{
  const size_t fill_row = op->masked.pixels.input->num_kept;
  const size_t kernel_height = op->kernel_height;
  const size_t kernel_width = geometry->kernel_width;
  const size_t step = op->dilation_width;
  const size_t row_step = op->dilation_height * geometry->input_width - kernel_width * step;
  uint64_t dead_taps = 0;
  size_t bit = 32;
  for (size_t kernel_y = 0; kernel_y < kernel_height; kernel_y++) {
    for (size_t kernel_x = 0; kernel_x < kernel_width; kernel_x++) {
      dead_taps |= (uint64_t) (*rank == fill_row) << bit++;
      rank += step;
    }
    rank += row_step;
  }
  return dead_taps;
}

// The dead taps of a row some of whose taps read padding.
static uint64_t
find_border_taps(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, struct xnn_tap_place place)
{
  uint64_t dead_taps = 0;
  uint64_t bit = 1;
  for (size_t kernel_y = 0; kernel_y < op->kernel_height; kernel_y++) {
    for (size_t kernel_x = 0; kernel_x < geometry->kernel_width; kernel_x++) {
      const size_t y = place.y + kernel_y * op->dilation_height;
      const size_t x = place.x + kernel_x * op->dilation_width;
      if (y >= op->input_height || x >= geometry->input_width) {
        dead_taps |= bit;
      }
      else if (
        op->masked.pixels.input != NULL &&
        xnn_masked_input_row(op, y * geometry->input_width + x) == op->masked.pixels.input->num_kept) {
        dead_taps |= bit << 32;
      }
      bit <<= 1;
    }
  }
  return dead_taps;
}

// Finds the dead taps of all rows; returns the number of live ones.
static size_t find_dead_taps(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, struct row* rows)
{
  const struct xnn_pixel_mask* mask = op->masked.pixels.mask;
  size_t num_live = 0;
  size_t i = 0;
  for (size_t y = 0; y < op->output_height; y++) {
    const size_t first_pixel = y * op->output_width;
    const size_t end = mask != NULL ? mask->row_start[y + 1] : first_pixel + op->output_width;
    for (; i < end; i++) {
      const size_t x = (mask != NULL ? mask->kept[i] : i) - first_pixel;
      const struct xnn_tap_place place = xnn_get_first_tap(op, geometry, y, x);
      const size_t input_pixel = place.y * geometry->input_width + place.x;
      uint64_t dead_taps = 0;
      if (!xnn_are_taps_inside(op, geometry, place)) {
        dead_taps = find_border_taps(op, geometry, place);
      }
      else if (op->masked.pixels.input != NULL) {
        dead_taps = find_fill_taps(op, geometry, op->masked.pixels.input->rank + input_pixel);
      }
      rows[i] = (struct row){
        .dead_taps = dead_taps,
        .index = (uint32_t) i,
        .input_pixel = (uint32_t) input_pixel,
      };
      num_live += count_live_taps(dead_taps, geometry->kernel_size);
    }
  }
  return num_live;
}

// What a tap costs in a tile, in halves of a row's products.
static inline size_t tap_cost(const struct xnn_live_igemm_config* config, size_t num_rows)
{
  return 2 * max(num_rows, config->busy_rows) + config->weight_halves;
}

// Cuts sorted rows into tiles of least cost, by dynamic programming. Returns the cost; tile_rows[i] is the number of
// rows of the last tile among the first i rows.
static size_t cut_rows(
  const struct row* rows,
  size_t num_rows,
  size_t kernel_size,
  const struct xnn_live_igemm_config* config,
  size_t* costs,
  uint8_t* tile_rows)
{
  const size_t max_rows = config->max_rows;
  costs[0] = 0;
  // Tiles that end here and before are decided.
  size_t begin = 0;
  size_t run_begin = 0;
  size_t run_end = 0;
  for (size_t end = 1; end <= num_rows; end++) {
    if (end > run_end) {
      run_begin = end - 1;
      run_end = end;
      while (run_end < num_rows && rows[run_end].dead_taps == rows[run_begin].dead_taps) {
        run_end++;
      }
    }
    if (end - 1 == run_begin + max_rows && run_end - run_begin >= 4 * max_rows) {
      // In a long run of rows that are alike full tiles are best, but for a few at both ends.
      const uint64_t dead_taps = rows[run_begin].dead_taps;
      const size_t cost = count_live_taps(dead_taps, kernel_size) * tap_cost(config, max_rows);
      for (size_t n = (run_end - run_begin) / max_rows - 3; n != 0; n--) {
        costs[end - 1 + max_rows] = costs[end - 1] + cost;
        tile_rows[end - 1 + max_rows] = (uint8_t) max_rows;
        end += max_rows;
      }
      begin = end - 1;
    }
    uint64_t dead_taps = rows[end - 1].dead_taps;
    size_t num_taps = count_live_taps(dead_taps, kernel_size);
    costs[end] = SIZE_MAX;
    for (size_t n = 1; n <= min(max_rows, end - begin); n++) {
      if ((dead_taps & ~rows[end - n].dead_taps) != 0) {
        dead_taps &= rows[end - n].dead_taps;
        num_taps = count_live_taps(dead_taps, kernel_size);
      }
      const size_t cost = costs[end - n] + num_taps * tap_cost(config, n);
      if (cost <= costs[end]) {
        costs[end] = cost;
        tile_rows[end] = (uint8_t) n;
      }
    }
  }
  return costs[num_rows];
}

// Whether tiles of live taps save enough: micro-kernels that are written for a core may be faster. Where rows of a
// dense output need not be moved then, that is enough by itself.
static bool is_worthwhile(
  const struct xnn_operator* op,
  const struct xnn_live_igemm_config* config,
  size_t cost,
  size_t num_rows,
  size_t kernel_size,
  uint32_t mr)
{
  const bool scatters = op->masked.pixels.mask != NULL && !op->masked.pixels.compact_output;
  const size_t percent = scatters ? 100 : config->max_percent;
  return cost * 100 <= divide_round_up(num_rows, mr) * kernel_size * tap_cost(config, mr) * percent;
}

void xnn_release_live_taps(struct xnn_live_taps* live)
{
  if (live != NULL) {
    xnn_release_memory(live->tiles);
    xnn_release_memory(live->classes);
    xnn_release_memory(live->tap_offsets);
    xnn_release_memory(live->rows);
    xnn_release_simd_memory(live->bias);
    xnn_release_memory(live->has_bias);
    xnn_release_memory(live);
  }
}

// Makes the tiles and their classes from sorted rows that have been cut.
static enum xnn_status make_tiles(
  const struct xnn_operator* op,
  const struct xnn_tap_geometry* geometry,
  uint32_t log2_input_element_size,
  const struct row* rows,
  size_t num_rows,
  const uint8_t* tile_rows,
  struct xnn_live_taps* live)
{
  const size_t kernel_size = geometry->kernel_size;
  const size_t merged_taps = op->kernel_width / geometry->kernel_width;
  const size_t channels_size = op->group_input_channels * merged_taps << log2_input_element_size;
  size_t num_tiles = 0;
  for (size_t end = num_rows; end != 0; end -= tile_rows[end]) {
    num_tiles++;
  }
  const size_t padded_channels = round_up(op->group_output_channels, live->config->nr);
  live->num_tiles = num_tiles;
  live->tiles = xnn_allocate_memory(num_tiles * sizeof(struct xnn_live_tile));
  live->rows = xnn_allocate_memory(num_rows * sizeof(uint32_t));
  live->has_bias = xnn_allocate_zero_memory(padded_channels / live->config->nr);
  // There are no more classes than tiles.
  live->classes = xnn_allocate_memory(num_tiles * sizeof(struct xnn_live_class));
  live->tap_offsets = xnn_allocate_memory(num_tiles * kernel_size * sizeof(size_t));
  if (
    live->tiles == NULL || live->rows == NULL || live->has_bias == NULL || live->classes == NULL ||
    live->tap_offsets == NULL) {
    return xnn_status_out_of_memory;
  }

  size_t end = num_rows;
  uint32_t num_taps = 0;
  for (size_t t = num_tiles; t-- != 0;) {
    const size_t n = tile_rows[end];
    uint64_t dead_taps = UINT64_MAX;
    for (size_t i = end - n; i < end; i++) {
      live->rows[i] = op->masked.pixels.compact_output ? rows[i].index : (uint32_t) row_pixel(op, rows[i].index);
      dead_taps &= rows[i].dead_taps;
    }
    const uint32_t fill = (uint32_t) (dead_taps >> 32);
    const uint32_t padding = (uint32_t) dead_taps;
    // Rows are sorted by their dead taps: a tile's class is that of the last one, or seldom one before.
    size_t c = live->num_classes;
    while (c != 0 && (live->classes[c - 1].fill_taps != fill || live->classes[c - 1].padding_taps != padding)) {
      c--;
    }
    if (c == 0) {
      c = ++live->num_classes;
      live->classes[c - 1] = (struct xnn_live_class){.fill_taps = fill, .padding_taps = padding, .tap = num_taps};
      for (size_t tap = 0; tap < kernel_size; tap++) {
        if (((fill | padding) >> tap & 1) == 0) {
          live->tap_offsets[num_taps++] = xnn_get_live_tap_offset(live->config, channels_size, tap);
        }
      }
      live->classes[c - 1].num_taps = num_taps - live->classes[c - 1].tap;
    }
    end -= n;
    live->tiles[t] = (struct xnn_live_tile){
      .row = (uint32_t) end,
      .num_rows = (uint32_t) n,
      .class_index = (uint32_t) (c - 1),
    };
  }

  for (size_t t = 0; t < num_tiles; t++) {
    live->tiles[t].pointer = (uint32_t) live->num_pointers;
    live->num_pointers += (size_t) live->tiles[t].num_rows * live->classes[live->tiles[t].class_index].num_taps;
  }
  live->bias = xnn_allocate_simd_memory(live->num_classes * padded_channels * 4);
  return live->bias != NULL ? xnn_status_success : xnn_status_out_of_memory;
}

// Sorted rows are those that the tiles were made from.
static void init_indirection(
  const struct xnn_operator* op,
  const struct xnn_tap_geometry* geometry,
  const struct row* rows,
  const struct xnn_live_taps* live,
  size_t input_pixel_stride)
{
  const struct xnn_tap_inputs inputs = xnn_get_tap_inputs(op, geometry, input_pixel_stride);
  for (size_t t = 0; t < live->num_tiles; t++) {
    const struct xnn_live_tile* tile = &live->tiles[t];
    const struct row* tile_rows = rows + tile->row;
    const struct xnn_live_class* tile_class = &live->classes[tile->class_index];
    const uint32_t dead_taps = tile_class->fill_taps | tile_class->padding_taps;
    struct xnn_tap_place places[XNN_MAX_MR];
    bool has_padding = false;
    for (size_t m = 0; m < tile->num_rows; m++) {
      has_padding = has_padding || (uint32_t) tile_rows[m].dead_taps != 0;
    }
    for (size_t m = 0; has_padding && m < tile->num_rows; m++) {
      const size_t pixel = row_pixel(op, tile_rows[m].index);
      places[m] = xnn_get_first_tap(op, geometry, pixel / op->output_width, pixel % op->output_width);
    }
    const void** entry = op->indirection_buffer + tile->pointer;
    size_t tap = 0;
    for (size_t kernel_y = 0; kernel_y < op->kernel_height; kernel_y++) {
      const size_t y = kernel_y * op->dilation_height;
      for (size_t kernel_x = 0; kernel_x < geometry->kernel_width; kernel_x++) {
        if (dead_taps >> tap++ & 1) {
          continue;
        }
        const size_t x = kernel_x * op->dilation_width;
        if (has_padding) {
          for (size_t m = 0; m < tile->num_rows; m++) {
            *entry++ = xnn_get_tap_input(inputs, places[m].y + y, places[m].x + x);
          }
        }
        else {
          const size_t offset = y * geometry->input_width + x;
          for (size_t m = 0; m < tile->num_rows; m++) {
            *entry++ = xnn_get_pixel_input(inputs, tile_rows[m].input_pixel + offset);
          }
        }
      }
    }
  }
}

// Whether padding alone cannot be what a plan saves enough by: of a large image few pixels are near to it.
static bool
has_few_borders(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, uint32_t max_percent)
{
  const size_t height = op->output_height;
  const size_t width = op->output_width;
  const size_t inner_height = doz(height, (op->kernel_height - 1) * op->dilation_height + 1);
  const size_t inner_width = doz(width, (geometry->kernel_width - 1) * op->dilation_width + 1);
  const size_t num_rows = op->masked.pixels.mask != NULL ? op->masked.pixels.mask->num_kept : height * width;
  return (height * width - inner_height * inner_width) * 100 <= num_rows * (100 - max_percent);
}

// Why all taps have to be computed, whatever a plan would save; NULL if they do not.
static const char* why_all_taps(
  const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, const struct xnn_live_igemm_config* config)
{
  if (config == NULL) {
    return "this core has no micro-kernels of live taps for the type";
  }
  if (op->groups != 1) {
    return "the convolution has groups";
  }
  if (geometry->kernel_size > XNN_MAX_LIVE_TAPS) {
    return "the kernel has too many taps";
  }
  if (op->masked.pixels.input != NULL) {
    return op->masked.pixels.has_fixed_input_fill ? NULL : "what its input is filled with depends on the image";
  }
  if (op->masked.pixels.mask == NULL) {
    return "its input is dense";
  }
  return op->masked.pixels.compact_output && has_few_borders(op, geometry, config->max_percent)
           ? "its input is dense, and few taps read padding"
           : NULL;
}

enum xnn_status xnn_reshape_live_taps(xnn_operator_t convolution_op, uint32_t mr, uint32_t log2_input_element_size)
{
  xnn_release_live_taps(convolution_op->masked.live_taps);
  convolution_op->masked.live_taps = NULL;
  const struct xnn_ukernel_igemm* ukernel = &convolution_op->ukernel.igemm;
  const struct xnn_live_igemm_config* config =
    xnn_get_live_igemm_config(convolution_op->type, ukernel->nr, ukernel->kr, ukernel->sr);
  const struct xnn_tap_geometry geometry = xnn_get_tap_geometry(convolution_op);
  convolution_op->masked.why_all_taps = why_all_taps(convolution_op, &geometry, config);
  if (convolution_op->masked.why_all_taps != NULL) {
    return xnn_status_success;
  }

  const struct xnn_pixel_mask* mask = convolution_op->masked.pixels.mask;
  const size_t num_rows = mask != NULL ? mask->num_kept : convolution_op->output_height * convolution_op->output_width;
  const size_t kernel_size = geometry.kernel_size;
  struct row* rows = xnn_allocate_memory(2 * num_rows * sizeof(struct row));
  size_t* costs = xnn_allocate_memory((num_rows + 1) * sizeof(size_t));
  uint8_t* tile_rows = xnn_allocate_memory(num_rows + 1);
  struct xnn_live_taps* live = NULL;
  enum xnn_status status = xnn_status_out_of_memory;
  if (rows == NULL || costs == NULL || tile_rows == NULL) {
    goto error;
  }

  status = xnn_status_success;
  convolution_op->masked.why_all_taps = "too few taps are constants";
  const size_t num_live = find_dead_taps(convolution_op, &geometry, rows);
  // Not even if all rows of each tile had the same dead taps?
  const size_t least_cost = num_live * tap_cost(config, config->max_rows) / config->max_rows;
  if (!is_worthwhile(convolution_op, config, least_cost, num_rows, kernel_size, mr)) {
    goto done;
  }
  sort_rows(rows, rows + num_rows, num_rows);
  const size_t cost = cut_rows(rows, num_rows, kernel_size, config, costs, tile_rows);
  if (!is_worthwhile(convolution_op, config, cost, num_rows, kernel_size, mr)) {
    goto done;
  }

  status = xnn_status_out_of_memory;
  live = xnn_allocate_zero_memory(sizeof(struct xnn_live_taps));
  if (live == NULL) {
    goto error;
  }
  live->config = config;
  status = make_tiles(convolution_op, &geometry, log2_input_element_size, rows, num_rows, tile_rows, live);
  if (status != xnn_status_success) {
    goto error;
  }
  const void** indirection_buffer = (const void**) xnn_reallocate_memory(
    (void*) convolution_op->indirection_buffer, max(live->num_pointers, 1) * sizeof(void*));
  if (indirection_buffer == NULL) {
    status = xnn_status_out_of_memory;
    goto error;
  }
  convolution_op->indirection_buffer = indirection_buffer;
  const size_t input_pixel_stride = convolution_op->input_pixel_stride << log2_input_element_size;
  init_indirection(convolution_op, &geometry, rows, live, input_pixel_stride);
  if (convolution_op->masked.pixels.input != NULL) {
    live->fill_row =
      (const void*) ((uintptr_t) convolution_op->input + convolution_op->masked.pixels.input->num_kept * input_pixel_stride);
  }
  convolution_op->masked.live_taps = live;
  convolution_op->masked.why_all_taps = NULL;
  live = NULL;
  goto done;

error:
  xnn_log_error(
    "failed to allocate memory for the live taps of %s operator with %zu rows",
    xnn_operator_type_to_string(convolution_op->type), num_rows);
done:
  xnn_release_live_taps(live);
  xnn_release_memory(rows);
  xnn_release_memory(costs);
  xnn_release_memory(tile_rows);
  return status;
}
