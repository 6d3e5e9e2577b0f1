/* What tells two books of one text apart: the fields of an identity line, geometry and KV type. */
#ifndef QUIRE_KV_IDENTITY_H
#define QUIRE_KV_IDENTITY_H

#include "kv/kv_format.h"

/* The first field, in the order of the line, in which a book differs from what is wanted. */
struct kv_difference {
    char field[48];
    char found[64], wanted[64];
    size_t n_fields; /* how many differ; 0: none, and the rest is empty */
};

/* An identity is a line "name value name value ...": words with single spaces between them. Geometry comes after it. */
struct kv_difference kv_identity_difference(const struct kv_manifest *manifest, const struct kv_geometry *geometry,
                                            const char *identity);

#endif
