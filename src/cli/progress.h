/* Standard error: errors, notes, and how far the work is. On a terminal a bar, redrawn a few times a second and wiped
 * before anything else is written; elsewhere a line now and then. */
#ifndef QUIRE_CLI_PROGRESS_H
#define QUIRE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/engine.h"
#include "quire/train.h"

struct progress {
    bool is_quiet;
    bool is_verbose;
    bool is_terminal;
    bool is_drawn;      /* a bar stands on the terminal's last line */
    double drawn_at;    /* seconds; when something was shown last */
    double phase_start; /* when the phase at work began */
    double first_work;  /* of the prefill: work_done when it was first reported, and tokens then */
    uint64_t first_tokens;
    bool has_first;
};

void progress_open(struct progress *progress, bool is_quiet, bool is_verbose);

/* Seconds on a clock that only goes forward. */
double progress_now(void);

/* "quire: message" and a line end. Errors are always shown, notes unless --quiet, details with --verbose. */
void progress_error(struct progress *progress, const char *format, ...) QUIRE_PRINTF(2, 3);
void progress_note(struct progress *progress, const char *format, ...) QUIRE_PRINTF(2, 3);
void progress_detail(struct progress *progress, const char *format, ...) QUIRE_PRINTF(2, 3);

/* A phase begins: times count from here. */
void progress_begin(struct progress *progress);

/* Taking in a document. size: in bytes, or -1 where nobody knows. */
void progress_input(struct progress *progress, uint64_t n_bytes, int64_t size, uint64_t n_tokens);

/* Prefill. Time left follows the work left, not the tokens left: late tokens attend to more and take longer. */
void progress_prefill(struct progress *progress, const quire_progress *state);

/* Bytes looked through or copied; label: what is done, one word. */
void progress_bytes(struct progress *progress, const char *label, uint64_t n_bytes, uint64_t n_most);

void progress_writing(struct progress *progress, uint64_t n_tokens, uint64_t n_most);

/* Texts that are being tokenised. */
void progress_documents(struct progress *progress, uint64_t n_documents, uint64_t n_bytes);

/* A step of training. share_of_peak: 0 where it is not known. */
void progress_training(struct progress *progress, const quire_training_event *step, double share_of_peak);

/* Wipes the bar. */
void progress_clear(struct progress *progress);

#endif
