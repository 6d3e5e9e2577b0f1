/* The files of a model: opened and mapped, with one directory of their tensors. */
#ifndef QUIRE_MODEL_SOURCE_H
#define QUIRE_MODEL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sys.h"
#include "gguf.h"
#include "tensors.h"

struct mapped_file {
    char *path;
    struct sys_map map;
};

struct model_source {
    bool is_gguf;
    struct tensors tensors;    /* sorted */
    struct gguf *gguf;         /* GGUF only */
    const char *format_name;   /* of a folder's weights: "safetensors", "pytorch" */
    struct mapped_file *files; /* of a folder; each is a shard */
    size_t n_files;
    char *config_path;    /* of a folder */
    char *tokenizer_path; /* of a folder; the file may not exist */
    float *vectors;       /* what the pointers of the model and its layers point into */
};

/* Errors: IO, FORMAT, UNSUPPORTED, NO_MEMORY. On failure *source is left for source_close to release. */
quire_status source_open_gguf(struct model_source *source, const char *path, quire_error *err);
/* The first says where the folder's configuration and tokenizer lie, the second maps its weights: a model of another
 * family is refused by its configuration before its weights are looked at. */
quire_status source_find_folder(struct model_source *source, const char *path, quire_error *err);
quire_status source_open_weights(struct model_source *source, const char *path, quire_error *err);

/* The file with a folder's tokenizer, malloc'ed: tokenizer.json, spiece.model or tokenizer.model, the first that is
 * there; where none is, tokenizer.json. Errors: NO_MEMORY. */
quire_status source_find_tokenizer(char **path, const char *folder, quire_error *err);

/* Whether touching a page of the files brings in those behind it. Off while a model is opened: only vectors and samples
 * are touched then, and 8 MB of read-ahead for each made opening a 13 GB checkpoint take 56 s instead of 0.03. */
void source_read_ahead(const struct model_source *source, bool is_on);

/* Bytes of all files. */
size_t source_n_bytes(const struct model_source *source);

/* Errors: IO, naming file and offset, where a page of a mapped file could not be read at any time. */
quire_status source_check(const struct model_source *source, quire_error *err);

void source_close(struct model_source *source);

/* "folder/name"; released with free. NULL: no memory. */
char *path_join(const char *folder, const char *name, quire_error *err);

#endif
