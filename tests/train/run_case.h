/* What the tests of training runs share: a folder of their own, a corpus of seeded words, configurations. */
#ifndef QUIRE_TESTS_RUN_CASE_H
#define QUIRE_TESTS_RUN_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "quire/quire.h"

/* A folder below $TMPDIR, made by the first call and removed, with all that is in it, when the process that made it
 * ends. */
const char *case_folder(void);

/* case_folder()/name, printf-like; valid until the sixteenth call after this one. */
const char *case_path(const char *format, ...) QUIRE_PRINTF(1, 2);

void case_write(const char *path, const void *data, size_t n);
void case_write_text(const char *path, const char *text);

/* The whole file, malloc'ed. Ends the program where there is none. */
unsigned char *case_read(const char *path, size_t *n);

/* Makes the folder and in it n_documents texts of about n_words words each: doc-000.txt, ... */
void case_make_corpus(const char *folder, size_t n_documents, size_t n_words, uint64_t seed);

/* A configuration of a tiny model on the corpus `texts`, its run in the folder `run` (both below case_folder()), with
 * more lines. The file is run.yaml; its path is given. */
const char *case_config(const char *texts, const char *run, const char *more);

/* What a run tells: the last of each, and how many. */
struct case_watch {
    size_t n_steps, n_evals, n_saves, n_samples, n_values;
    double loss, eval_loss, perplexity;
    uint64_t eval_tokens;
    char notices[16384];     /* one a line */
    quire_training *cancels; /* after the step that is counted down to 0 */
    size_t steps_left;
};
int case_on_event(void *user, const quire_training_event *event);
quire_training_options case_options(const char *config, struct case_watch *watch);

/* From opening to the end. */
quire_status case_train(const quire_training_options *options, quire_error *err);

/* The checkpoint of a step in a run's folder below case_folder(). */
const char *case_checkpoint(const char *run, unsigned step);

#endif
