/* Checking the files of a model: what a reader that only opens them cannot see. */
#ifndef QUIRE_VERIFY_H
#define QUIRE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quire_finding_kind {
    QUIRE_FINDING_REFUSED,  /* the model cannot be opened: a missing tensor, a field that is not supported, ... */
    QUIRE_FINDING_CHECKSUM, /* a tensor is not what it was when its checksum was stored, or there are no checksums */
    QUIRE_FINDING_NUMBERS,  /* a tensor has NaNs or infinities */
    QUIRE_FINDING_UNUSED,   /* a tensor is no part of the model */
    QUIRE_FINDING_TOKENIZER /* it cannot be opened, does not fit the embedding, or loses text */
} quire_finding_kind;

typedef struct quire_finding {
    quire_finding_kind kind;
    bool is_damage;      /* false: worth knowing, and no reason to distrust the model */
    const char *tensor;  /* NULL where it is about none */
    const char *message; /* a sentence; valid during the call */
} quire_finding;

/* "refused", "checksum", "numbers", "unused", "tokenizer". Static storage. */
QUIRE_API const char *quire_finding_kind_name(quire_finding_kind kind);

/* Both may be NULL. progress: bytes of tensors looked at, and to be looked at; anything but 0 stops the work. */
typedef struct quire_verify_watch {
    void (*found)(void *user, const quire_finding *finding);
    int (*progress)(void *user, uint64_t n_bytes, uint64_t n_bytes_total);
    void *user;
} quire_verify_watch;

typedef struct quire_verify_result {
    uint64_t n_tensors; /* in the files */
    uint64_t n_bytes;   /* of them */
    uint64_t n_checksums, n_checksums_good;
    uint64_t n_damaged; /* findings that are damage */
    uint64_t n_remarks; /* findings that are not */
} quire_verify_result;

/* Looks at every byte of the model's tensors and at every token. QUIRE_OK means that it was done; *out has what was
 * found. n_threads: 0 for all processors. Errors: those of quire_model_open. FORMAT and UNSUPPORTED of them are
 * findings too: what is wrong was given to `found` (every missing or misshaped tensor, not the first alone) and is
 * counted in *out. CANCELLED; IO; NO_MEMORY. */
QUIRE_API quire_status quire_verify(const char *path, uint32_t n_threads, const quire_verify_watch *watch,
                                    quire_verify_result *out, quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
