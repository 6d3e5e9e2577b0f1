/* Small integers for a group of numbers: the scales that store them with the least squared error, as far as a search
 * over a few tens of candidates finds them. Plain arithmetic in one order, so that every machine finds the same. */
#ifndef QUIRE_BASE_BLOCK_FIT_H
#define QUIRE_BASE_BLOCK_FIT_H

#include <stdint.h>

/* numbers[i] = (x[i] - offset) / scale to the nearest of lowest .. highest; 0 where the scale is 0. */
void block_round(int8_t *numbers, const float *x, int n, float scale, float offset, int lowest, int highest);

/* The scale with which integers -levels .. levels - 1 come nearest to x; its sign is such that the largest number in
 * magnitude becomes a negative one. 0 where all are (almost) 0, NaN where one is no number or larger than any
 * scale in half precision allows. n: a multiple of 4. */
float block_fit_scale(const float *x, int n, int levels);

/* x[i] is about scale * integer - minimum, with integers 0 .. highest and minimum >= 0. Both are NaN as above. */
struct block_line {
    float scale, minimum;
};
struct block_line block_fit_line(const float *x, int n, int highest);

/* The sum of the squared errors with which block_round stores x. n: a multiple of 4. */
float block_error(const float *x, int n, float scale, float offset, int lowest, int highest);

#endif
