/* A seeded generator: the same numbers for a seed on every machine.
 *
 * splitmix64: a counter of odd step through a mixing function. One 64-bit word of state, every seed a good one, and far
 * more quality than drawing one token in a few milliseconds asks for. */
#ifndef QUIRE_BASE_RNG_H
#define QUIRE_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state; /* the seed at first */
};

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = (rng->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1): a multiple of 2^-53. */
static inline double rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

#endif
