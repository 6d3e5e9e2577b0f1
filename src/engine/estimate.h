/* How much there is to compute, and how long that may take on this machine. */
#ifndef QUIRE_ENGINE_ESTIMATE_H
#define QUIRE_ENGINE_ESTIMATE_H

#include "engine.h"

/* Floating-point operations of tokens [first, end) through one layer: products, and causal attention over what is
 * likely not to be left out (attn_eps). */
double estimate_layer_work(const struct quire_engine *engine, uint64_t first, uint64_t end);

/* Of the log-probabilities of n tokens; 0 where nobody asks for them. */
double estimate_scoring_work(const struct quire_engine *engine, uint64_t n);

/* Seconds that reading tokens [0, n) may take. The first call measures the machine: one product of the size and type
 * that a layer has, for some milliseconds on all threads. A guess: attention is taken to go at half the speed of
 * products, and disks to keep up. 0 where nothing could be measured. */
double estimate_seconds(struct quire_engine *engine, uint64_t n);

#endif
