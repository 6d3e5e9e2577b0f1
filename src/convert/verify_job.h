/* A check that is being made: who is told what is found. Private to src/convert. */
#ifndef QUIRE_CONVERT_VERIFY_JOB_H
#define QUIRE_CONVERT_VERIFY_JOB_H

#include "quire/model.h"
#include "quire/tokenizer.h"
#include "quire/verify.h"

struct verify_job {
    const quire_verify_watch *watch;
    quire_verify_result result;
};

/* Counts a finding and tells it. tensor may be NULL. */
void verify_found(struct verify_job *job, quire_finding_kind kind, bool is_damage, const char *tensor,
                  const char *format, ...) QUIRE_PRINTF(5, 6);

/* Of each tensor of the files, whether the model has it; to be freed. Errors: NO_MEMORY. */
quire_status verify_used(bool **out, const quire_model *model, quire_error *err);

/* Checksums and numbers of every tensor. Errors: CANCELLED, IO, NO_MEMORY. */
quire_status verify_tensors(struct verify_job *job, const quire_model *model, uint32_t n_threads, quire_error *err);

/* Every token, and a text of many scripts, there and back. Errors: NO_MEMORY. */
quire_status verify_tokenizer(struct verify_job *job, const quire_tokenizer *tokenizer, uint32_t n_rows,
                              quire_error *err);

#endif
