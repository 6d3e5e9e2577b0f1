/* When a step is to be taken back. The rule: its loss or its gradients' norm is not a finite number; or, once as many
 * steps as half a window are known, its loss is more than `threshold` standard deviations above the mean of the last
 * `window` steps' losses, and at least SPIKE_LEAST_RISE above it. It is asked before the weights change. */
#ifndef QUIRE_TRAIN_SPIKE_H
#define QUIRE_TRAIN_SPIKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPIKE_MAX_WINDOW = 1024 };

/* Nats. A loss that has settled has so small a deviation that harmless steps would be far out in it. */
#define SPIKE_LEAST_RISE 0.5

struct spike {
    double threshold; /* 0: only what is not finite */
    uint32_t window;
    double losses[SPIKE_MAX_WINDOW]; /* the last n, oldest first */
    size_t n;
};

/* What is wrong with a step, for people; NULL: nothing. */
const char *spike_find(const struct spike *spike, double loss, double gradient_norm);

/* A step that stands. */
void spike_add(struct spike *spike, double loss);

#endif
