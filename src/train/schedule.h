/* The learning rate of a step, as a factor of the configured one. t counts from 1 to t_max; t_w is the warm-up.
 *
 *     t < t_w     t / t_w, linearly, under each name
 *     cosine      alpha_f + (1 - alpha_f) (1 + cos(pi (t - t_w) / (t_max - t_w))) / 2
 *     inv_sqrt    max(alpha_f, sqrt(max(t_w, 1) / t))
 *     constant    1 */
#ifndef QUIRE_TRAIN_SCHEDULE_H
#define QUIRE_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "train_config.h"

double schedule_factor(enum train_scheduler name, uint64_t t, uint64_t t_warmup, uint64_t t_max, double alpha_f);

#endif
