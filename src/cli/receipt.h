/* What a run did with a document: a few lines on standard error, or fields of the JSON object. */
#ifndef QUIRE_CLI_RECEIPT_H
#define QUIRE_CLI_RECEIPT_H

#include <jansson.h>

#include "document.h"
#include "session.h"

/* What ended a text. */
enum ending {
    NOTHING_WRITTEN,
    ENDED_BY_LENGTH,    /* --max-tokens */
    ENDED_BY_MODEL,     /* its token for the end of a text or a turn */
    ENDED_BY_STOP,      /* a stop string */
    ENDED_BY_INTERRUPT, /* a signal */
    ENDED_BY_OUTPUT,    /* nobody reads it any more */
    ENDED_BY_ERROR
};

struct receipt {
    const struct document *document;
    quire_plan plan;                         /* what was planned before the work */
    uint64_t n_prompt;                       /* tokens of the prompt format around the document */
    uint64_t n_reused;                       /* tokens taken from the store */
    uint64_t n_resumed;                      /* what an interrupted reading had done besides, in tokens */
    uint64_t n_new;                          /* tokens written */
    uint64_t n_drafted, n_accepted;          /* computed ahead, and of these, written */
    uint64_t n_blocks_met, n_blocks_skipped; /* by attention */
    uint64_t disk_bytes;                     /* written to the store or to temporary files */
    double read_seconds;
    double write_seconds;
    enum ending ending;
};

/* Peak resident memory of this process in bytes. */
uint64_t receipt_peak_bytes(void);

/* The plan: what is about to be done and what it takes. */
void receipt_print_plan(struct session *s, const char *name, const quire_plan *plan);

/* What the user must not overlook: text that is not as it was, or not all of it. */
void receipt_print_changes(struct session *s, const struct document *document);

void receipt_print(struct session *s, const struct receipt *receipt);

/* "document", "bytes", "tokens" and so on, into object. */
void receipt_add_json(json_t *object, const struct session *s, const struct receipt *receipt);

#endif
