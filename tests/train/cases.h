/* Small models with every option of the family, for the tests of the trainer. */
#ifndef QUIRE_TESTS_TRAIN_CASES_H
#define QUIRE_TESTS_TRAIN_CASES_H

#include "test.h"
#include "train/net.h"

struct train_case {
    const char *name;
    quire_config config;
    double z_loss;
};

/* The case at `index`; false behind the last. */
bool train_case_at(size_t index, struct train_case *out);

/* The smallest: d_model 32, 4 heads, 2 layers, 48 entries, ALiBi 8; all else MosaicML's defaults, without biases. */
quire_config train_case_base(void);

/* Weights that are not those of an initialisation: no norm is 1, no bias 0. */
void train_case_fill(struct net *net, uint64_t seed);

/* Number `index` of a tensor as tests/golden/README.md has it: the same in every program, and exact in bfloat16. */
double train_case_formula(const char *name, size_t index);

/* What that is made of: a number's bits mixed (murmur3's finaliser). */
uint32_t train_case_mix(uint32_t u);

/* Tokens and targets; some of these are NET_IGNORE. [n] */
void train_case_tokens(uint32_t *tokens, uint32_t *targets, size_t n, uint32_t vocab_size, uint64_t seed);

#endif
