/* The initialisation of the family. */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "net_private.h"

const char *const net_init_names[] = {[NET_INIT_KAIMING_NORMAL] = "kaiming_normal_",
                                      [NET_INIT_SMALL] = "small_init_",
                                      [NET_INIT_BASELINE] = "baseline_",
                                      NULL};

static double std_of(const struct net *net, size_t index, const struct net_init_options *options)
{
    const struct param *param = &net->params[index];
    enum param_kind kind = net->net_params[index].kind;
    double std = options->init_std;
    if (kind == PARAM_EMBEDDING && options->emb_init_std > 0)
        return options->emb_init_std;
    if (options->name == NET_INIT_KAIMING_NORMAL)
        std = sqrt(2.0 / (double)param->dims[1]);
    else if (options->name == NET_INIT_SMALL)
        std = sqrt(2.0 / (5.0 * net->config.d_model));
    if (kind == PARAM_RESIDUAL)
        std /= options->residual_divisor > 0 ? options->residual_divisor : sqrt(2.0 * net->config.n_layers);
    return std;
}

/* Normal numbers in pairs, by Box and Muller. */
static void fill_normal(float *dst, size_t n, double std, uint64_t seed)
{
    struct rng rng = {seed};
    for (size_t i = 0; i < n; i += 2) {
        double radius = std * sqrt(-2.0 * log1p(-rng_unit(&rng))); /* of 1 - u, which is never 0 */
        double angle = 2.0 * M_PI * rng_unit(&rng);
        dst[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            dst[i + 1] = (float)(radius * sin(angle));
    }
}

struct init_job {
    struct net *net;
    const struct net_init_options *options;
};

static void init_param(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct init_job *job = context;
    struct param *param = &job->net->params[item];
    enum param_kind kind = job->net->net_params[item].kind;
    if (kind == PARAM_NORM || kind == PARAM_BIAS)
        for (size_t i = 0; i < param->n; i++)
            param->data[i] = kind == PARAM_NORM ? 1.0f : 0.0f;
    else
        fill_normal(param->data, param->n, std_of(job->net, item, job->options),
                    hash64_seeded(param->name, strlen(param->name), job->options->seed));
}

void net_init(struct net *net, const struct net_init_options *options)
{
    struct init_job job = {net, options};
    threads_run(net->threads, net->n_params, init_param, &job);
    net_clear_gradients(net);
}
