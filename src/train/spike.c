#include "spike.h"

#include <math.h>
#include <string.h>

const char *spike_find(const struct spike *spike, double loss, double gradient_norm)
{
    if (!isfinite(loss))
        return "the loss is not a finite number";
    if (!isfinite(gradient_norm))
        return "the gradients are not finite numbers";
    if (spike->threshold == 0 || spike->n < spike->window / 2)
        return NULL;
    double mean = 0, square = 0;
    for (size_t i = 0; i < spike->n; i++)
        mean += spike->losses[i] / (double)spike->n;
    for (size_t i = 0; i < spike->n; i++)
        square += (spike->losses[i] - mean) * (spike->losses[i] - mean) / (double)spike->n;
    double limit = mean + fmax(SPIKE_LEAST_RISE, spike->threshold * sqrt(square));
    return loss > limit ? "the loss jumped" : NULL;
}

void spike_add(struct spike *spike, double loss)
{
    if (spike->n >= spike->window) { /* a window that became smaller, too */
        size_t n_kept = spike->window - 1;
        memmove(spike->losses, spike->losses + (spike->n - n_kept), n_kept * sizeof *spike->losses);
        spike->n = n_kept;
    }
    spike->losses[spike->n++] = loss;
}
