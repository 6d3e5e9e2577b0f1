/* Reads the folders of tests/golden, and runs a text through an engine. */
#ifndef QUIRE_TESTS_ENGINE_GOLDEN_H
#define QUIRE_TESTS_ENGINE_GOLDEN_H

#include <stddef.h>
#include <stdint.h>

#include "quire/quire.h"

/* tests/golden/<name>/<file>, or the folder with file "". Static storage, until the next call. */
const char *golden_path(const char *name, const char *file);

/* The numbers of a file, one a line or separated by white space; malloc'ed. Ends the program where there are none. */
double *golden_numbers(const char *name, const char *file, size_t *n);
int32_t *golden_tokens(const char *name, size_t *n);

/* tests/golden/<name>, a folder or its model.gguf; ends the program where it cannot be opened. */
quire_model *golden_model(const char *name);

/* A reading: log-probabilities by position (NAN where none was reported) and the logits after the last token. */
struct reading {
    size_t n;
    float *logprobs; /* [n] */
    float *logits;   /* [vocab_size] */
    uint64_t n_reused;
};

/* Reads ids with opts (whose callbacks are set here). Ends the program on an error. */
struct reading read_ids(const quire_model *model, const quire_engine_options *opts, const int32_t *ids, size_t n);
void reading_release(struct reading *reading);

/* The name of the widest table that multiplies in float32: what is held to a float64 reference. Others round the
 * factors of their products, and are held to this one (test_narrow). */
const char *float32_isa(void);

/* Seeded ids below vocab_size; malloc'ed. */
int32_t *random_ids(size_t n, uint32_t vocab_size, uint64_t seed);

/* A new empty folder under $TMPDIR; and its removal with all that is in it. */
void make_folder(char path[64]);
void remove_folder(const char *path);

#endif
