#include "pace.h"

/* No more than a layer is to be lost where layers are shorter than the interval, so at their ends a part of it is
 * enough. And a slow disk stretches it: commits take one part in PACE_COST_SHARE of the time at most. */
enum { PACE_LAYER_SHARE = 6, PACE_COST_SHARE = 50 };

void pace_start(struct pace *pace, double seconds, double now)
{
    *pace = (struct pace){.seconds = seconds, .last = now};
}

bool pace_is_due(const struct pace *pace, bool is_layer_end, double now)
{
    double elapsed = now - pace->last;
    if (pace->seconds <= 0)
        return true;
    return elapsed >= (is_layer_end ? pace->seconds / PACE_LAYER_SHARE : pace->seconds) &&
           elapsed >= PACE_COST_SHARE * pace->cost_seconds;
}

void pace_committed(struct pace *pace, double start, double now)
{
    pace->cost_seconds = now - start;
    pace->last = now;
}
