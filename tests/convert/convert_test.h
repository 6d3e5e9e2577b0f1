/* Small models to write, folders to write them to, and whether two models are the same. */
#ifndef QUIRE_TESTS_CONVERT_TEST_H
#define QUIRE_TESTS_CONVERT_TEST_H

#include "convert/model_writer.h"
#include "test.h"

#define TOKENIZER_DATA QUIRE_SOURCE_DIR "/tests/tokenizer/data/tokenizer.json"

/* A model in memory, all weights random. */
struct made {
    quire_config config;
    struct weight *weights;
    struct weight_data *data;
    struct about about;
    quire_tokenizer *tokenizer;
    struct model_content content;
};

/* Two layers of d_model numbers, with the options that change which tensors there are. */
quire_config made_config(uint32_t d_model);

/* f32 weights; tokenizer: a path. config->vocab_size grows to the tokenizer's tokens and 5 rows of padding. */
void made_open(struct made *made, const quire_config *config, const char *tokenizer, uint64_t seed);
void made_close(struct made *made);

/* A new folder for outputs, its path malloc'ed; removed with all that is in it. */
char *place_make(void);
void place_remove(char *place);

/* "place/name"; lives until the fourth next call. */
const char *place_path(const char *place, const char *name);

/* Entries of a folder. */
size_t place_count(const char *place);

quire_model *model_at(const char *path);
void convert(const char *from, const char *to, const quire_convert_options *options); /* must go well */
quire_convert_options type_options(quire_dtype type);

/* Whether the models have the same configuration, name, prompt format, tensor shapes and numbers; says where not.
 * exact: matrices are also stored in the same type. */
bool is_same(const char *a, const char *b, bool exact);

#endif
