/* The log of a run: JSON, one object a line, appended. */
#ifndef QUIRE_TRAIN_RUN_LOG_H
#define QUIRE_TRAIN_RUN_LOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "quire/error.h"

#define RUN_LOG_NAME "log.jsonl"

struct run_log {
    int fd; /* -1: not open */
    char *path;
    uint64_t n_bytes;
};

/* Opens or makes folder/log.jsonl. A last line that a killed process left unfinished is cut off. Errors: IO, NO_SPACE,
 * NO_MEMORY. */
quire_status run_log_open(struct run_log *out, const char *folder, quire_error *err);
void run_log_close(struct run_log *log);

/* Whether a line tells of an event of this name and step. */
bool run_log_has(const struct run_log *log, const char *event, uint64_t step);

/* Appends object and releases it. NULL: there was no memory to build it. Errors: NO_SPACE, IO, NO_MEMORY; the log then
 * ends where it did. */
quire_status run_log_add(struct run_log *log, json_t *object, quire_error *err);

#endif
