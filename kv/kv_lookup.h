/* Which book of a store a text can be read from, and how. */
#ifndef QUIRE_KV_LOOKUP_H
#define QUIRE_KV_LOOKUP_H

#include "kv/kv_store.h"

/* A book that begins as the text does. */
struct kv_candidate {
    struct kv_manifest manifest;
    size_t n_common;     /* committed tokens of the book that are the first of the text, and not known to be damaged */
    bool is_flight_ours; /* it has a sound span in flight, whose text is a beginning of the text */
    bool is_only_parent; /* another process writes it, or what it has beside whole blocks is damaged */
    bool is_unusable;
};

struct kv_candidates {
    struct kv_candidate *items;
    size_t n, capacity;
};

enum kv_use {
    KV_USE_NONE,   /* a new book */
    KV_USE_BRANCH, /* a new book whose first n_tokens are the candidate's */
    KV_USE_GO_ON,  /* the candidate itself, as its writer */
    KV_USE_AS_IS   /* the candidate itself, as its reader */
};

struct kv_choice {
    enum kv_use use;
    size_t candidate;
    size_t n_tokens; /* the frontier that it gives */
};

/* All books of the store that can serve the text ids[0..n). Damaged ones are left out, with a notice. Errors: IO,
 * NO_MEMORY. */
quire_status kv_candidates_load(struct kv_candidates *list, struct kv_store *store, const int32_t *ids, size_t n,
                                quire_error *err);
void kv_candidates_release(struct kv_candidates *list);

/* One book; *is_fit tells whether it can serve. Damage is a notice, not an error. Errors: NO_MEMORY. */
quire_status kv_candidate_load(struct kv_candidate *out, bool *is_fit, struct kv_store *store, uint64_t id,
                               const int32_t *ids, size_t n);

/* The use that leaves the least to compute. A pure function of the candidates. */
struct kv_choice kv_choose(const struct kv_candidate *candidates, size_t n_candidates, size_t n);

#endif
