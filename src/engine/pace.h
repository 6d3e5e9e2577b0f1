/* When a span in flight is worth a commit: often enough that a crash costs little, seldom enough that commits do. */
#ifndef QUIRE_ENGINE_PACE_H
#define QUIRE_ENGINE_PACE_H

#include <stdbool.h>

struct pace {
    double seconds;      /* quire_engine_options.commit_seconds */
    double last;         /* when what is computed was last safe: base/sys.h's clock */
    double cost_seconds; /* of the commit before; 0: none yet */
};

/* From now on nothing is to be saved that is not computed later. */
void pace_start(struct pace *pace, double seconds, double now);

/* Whether to commit at the end of a step, which may be the end of a layer. */
bool pace_is_due(const struct pace *pace, bool is_layer_end, double now);

/* A commit took the time from `start` to `now`, whether it succeeded or not. */
void pace_committed(struct pace *pace, double start, double now);

#endif
