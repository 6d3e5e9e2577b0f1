/* The key-value pairs of a GGUF of architecture mpt, as bytes. */
#ifndef QUIRE_CONVERT_GGUF_METADATA_H
#define QUIRE_CONVERT_GGUF_METADATA_H

#include "about.h"
#include "model/gguf.h"
#include "tokenizer/buffer.h"

struct gguf_pairs {
    struct buffer bytes;
    uint64_t n;
    size_t checksums_at; /* of the string's bytes in `bytes` */
};

struct gguf_metadata {
    const quire_config *config;
    const struct about *about;
    const quire_tokenizer *tokenizer; /* NULL: `from` has it, or there is none */
    const struct gguf *from;          /* whose other keys are kept; NULL: none */
    int32_t file_type;                /* llama.cpp's number for the type of most weights; -1: as in `from` */
    size_t n_checksum_bytes;          /* room for them, filled in at the end */
};

/* Errors: UNSUPPORTED (a merge that a line cannot hold), NO_MEMORY. */
quire_status gguf_metadata_make(struct gguf_pairs *pairs, const struct gguf_metadata *metadata, quire_error *err);

#endif
