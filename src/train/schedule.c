#include "schedule.h"

#include <math.h>

double schedule_factor(enum train_scheduler name, uint64_t t, uint64_t t_warmup, uint64_t t_max, double alpha_f)
{
    if (t < t_warmup)
        return (double)t / (double)t_warmup;
    switch (name) {
    case SCHEDULE_COSINE: {
        double tau = t >= t_max ? 1 : (double)(t - t_warmup) / (double)(t_max - t_warmup);
        return alpha_f + (1 - alpha_f) * 0.5 * (1 + cos(3.14159265358979323846 * tau));
    }
    case SCHEDULE_INV_SQRT: return fmax(alpha_f, sqrt((t_warmup > 1 ? (double)t_warmup : 1) / (double)t));
    case SCHEDULE_CONSTANT: break;
    }
    return 1;
}
