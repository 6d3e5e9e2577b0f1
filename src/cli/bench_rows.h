/* What `quire bench` has measured, and how it is written. */
#ifndef QUIRE_CLI_BENCH_ROWS_H
#define QUIRE_CLI_BENCH_ROWS_H

#include "session.h"

/* One context length. Seconds are medians over the repeats. */
struct bench_row {
    uint64_t context;           /* tokens that stand there when the row ends */
    uint64_t n_read;            /* of these, read in this row: those behind the row before */
    uint64_t n_decoded;         /* tokens decoded behind the context, in each repeat; 0: none */
    double read_seconds;        /* of n_read tokens */
    double decode_seconds;      /* of one token */
    double read_operations;     /* arithmetic of n_read tokens; what was left out is not counted */
    double decode_bytes;        /* of one token: weights, and keys and values as far as they were read */
    uint64_t n_blocks_met;      /* blocks of keys and values that attention read for n_read tokens */
    uint64_t n_blocks_left_out; /* and those that it left out */
    uint64_t resident_bytes;    /* the most while the row was measured */
};

/* Writes the peaks alone, as the options ask: text, CSV or JSON. Errors: those of the output. */
quire_status bench_write_peaks(struct session *s, const quire_peaks *peaks, quire_error *err);

/* Writes rows beside their shares of the peaks: a table, CSV or one JSON object. Errors: those of the output. */
quire_status bench_write_rows(struct session *s, const struct bench_row *rows, size_t n_rows, const quire_peaks *peaks,
                              quire_error *err);

#endif
