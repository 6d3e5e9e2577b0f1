/* A picture of a training log. */
#ifndef QUIRE_CLI_TRAIN_PLOT_H
#define QUIRE_CLI_TRAIN_PLOT_H

#include "quire/error.h"

/* Draws the losses and the learning rate of a run's log.jsonl with gnuplot, as an SVG file. What a run did before it
 * went back, or was interrupted, is left out. Errors: IO (a file; gnuplot is not installed: says so), FORMAT (a line
 * that is not a log's; no step in it), NO_MEMORY. */
quire_status train_plot(const char *log_path, const char *svg_path, quire_error *err);

#endif
