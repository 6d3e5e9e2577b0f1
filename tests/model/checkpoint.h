/* A small checkpoint of any member of the family: its tensors by name, with values computed from the names, and the
 * files that hold them. */
#ifndef QUIRE_TESTS_MODEL_CHECKPOINT_H
#define QUIRE_TESTS_MODEL_CHECKPOINT_H

#include <stdbool.h>

#include "torch_writer.h"

struct checkpoint {
    struct torch_tensor *tensors;
    size_t n, capacity;
    bool is_f32; /* else bfloat16 */
};

/* Adds a tensor of rows x cols, or a vector of cols where rows is 0. Its values are multiples of 1/128 from -1 to 1,
 * exact in every type, and say where they belong: they are drawn from a generator seeded with the name. */
void checkpoint_add(struct checkpoint *c, uint64_t rows, uint64_t cols, const char *name, ...)
    __attribute__((format(printf, 4, 5)));
const struct torch_tensor *checkpoint_find(const struct checkpoint *c, const char *name); /* NULL: there is none */
void checkpoint_release(struct checkpoint *c);

/* model.safetensors, pytorch_model.bin, or n_shards of the latter with an index, in the folder. */
void checkpoint_write_safetensors(const struct checkpoint *c, const char *folder);
void checkpoint_write_bin(const struct checkpoint *c, const char *folder);
void checkpoint_write_bin_shards(const struct checkpoint *c, const char *folder, size_t n_shards);

#endif
