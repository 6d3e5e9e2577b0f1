/* Training speed: tokens a second and the share of what the processor's matrix products can do at best.
 *
 *     bench_train [-m 15m|60m] [-c CONTEXT] [-b SEQUENCES] [-p f32|bf16] [-r] [-t THREADS] [-n STEPS]
 *
 * A step is a pass forward and back over a micro-batch of random tokens, clipping, and an update by Lion. By default a
 * micro-batch has 8192 tokens in sequences of 1024, and the best of 3 steps behind one that is not counted is told.
 * -r: activations are computed again. Lines are CSV: model, parameters, context, sequences, factors, recomputed,
 * tokens/s, Gop/s (as net_n_operations counts), the peak in Gop/s, measured before and after, and the share of it, MiB
 * of memory as planned without the optimiser's state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/sys.h"
#include "quire/peaks.h"
#include "train/net.h"
#include "train/optim.h"

struct shape {
    const char *name;
    uint32_t d_model, n_heads, n_layers, vocab_size;
};

static const struct shape shapes[] = {
    {"15m", 384, 6, 8, 8192},
    {"60m", 640, 10, 10, 16384},
};

struct run {
    struct shape shape;
    struct net_options options;
    int n_steps;
};

static void fail(const quire_error *err)
{
    fprintf(stderr, "bench_train: %s\n", err->message);
    exit(1);
}

static void usage(void)
{
    fprintf(stderr, "usage: bench_train [-m 15m|60m] [-c CONTEXT] [-b SEQUENCES] [-p f32|bf16] [-r] [-t THREADS] "
                    "[-n STEPS]\n");
    exit(2);
}

/* Which of two words. */
static bool is_second(const char *text, const char *first, const char *second)
{
    bool is = strcmp(text, second) == 0;
    if (!is && strcmp(text, first) != 0)
        usage();
    return is;
}

static struct run parse(int argc, char **argv)
{
    struct run run = {shapes[0], {.seq_len = 1024, .precision = TRAIN_BF16}, 3};
    for (int option; (option = getopt(argc, argv, "m:c:b:p:rt:n:")) != -1;)
        switch (option) {
        case 'm': run.shape = shapes[is_second(optarg, "15m", "60m")]; break;
        case 'c': run.options.seq_len = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': run.options.n_sequences = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'p': run.options.precision = is_second(optarg, "f32", "bf16") ? TRAIN_BF16 : TRAIN_F32; break;
        case 'r': run.options.recomputes = true; break;
        case 't': run.options.n_threads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'n': run.n_steps = (int)strtol(optarg, NULL, 10); break;
        default: usage();
        }
    if (run.options.seq_len == 0 || run.n_steps < 1 || optind < argc)
        usage();
    if (run.options.n_sequences == 0)
        run.options.n_sequences = run.options.seq_len < 8192 ? 8192 / run.options.seq_len : 1;
    return run;
}

static quire_config config_of(const struct shape *shape, uint32_t seq_len)
{
    return (quire_config){
        .d_model = shape->d_model,
        .n_heads = shape->n_heads,
        .kv_n_heads = shape->n_heads,
        .n_layers = shape->n_layers,
        .d_ff = 4 * shape->d_model,
        .max_seq_len = seq_len,
        .vocab_size = shape->vocab_size,
        .no_bias = true,
        .alibi = true,
        .alibi_bias_max = 8,
        .logit_scale = 1,
        .norm_eps = 1e-5f,
        .tie_word_embeddings = true,
    };
}

/* The best time of the steps. */
static double best_seconds(struct net *net, struct optim *optim, const struct net_batch *batch, int n_steps)
{
    quire_error err = {0};
    struct net_loss loss;
    double best = 0;
    for (int i = 0; i <= n_steps; i++) {
        double start = sys_now();
        net_clear_gradients(net);
        if (net_backward(net, batch, 1.0 / batch->n_tokens / batch->n_sequences, &loss, &err) != QUIRE_OK)
            fail(&err);
        optim_clip_gradients(optim, 1);
        optim_step(optim, 1e-4);
        double seconds = sys_now() - start;
        if (i > 0)
            best = best > 0 && best < seconds ? best : seconds;
    }
    return best;
}

static void measure_peak(quire_peaks *peaks, const char *isa, uint32_t n_threads)
{
    quire_error err = {0};
    if (quire_peaks_measure_units(peaks, isa, n_threads, &err) != QUIRE_OK)
        fail(&err);
}

int main(int argc, char **argv)
{
    quire_error err = {0};
    struct run run = parse(argc, argv);
    quire_config config = config_of(&run.shape, run.options.seq_len);
    size_t n_tokens = (size_t)run.options.n_sequences * run.options.seq_len;
    struct net_memory memory;
    struct net *net = NULL;
    struct optim *optim = NULL;
    struct optim_options lion = optim_defaults(OPTIM_LION);
    uint32_t *tokens = mem_calloc(n_tokens + 1, sizeof *tokens, "tokens", &err);
    if (!tokens || net_plan(&memory, &config, &run.options, &err) != QUIRE_OK ||
        net_open(&net, &config, &run.options, &err) != QUIRE_OK || optim_open(&optim, net, &lion, &err) != QUIRE_OK)
        fail(&err);
    net_init(net, &(struct net_init_options){.name = NET_INIT_KAIMING_NORMAL, .seed = 1});
    struct rng rng = {1};
    for (size_t i = 0; i <= n_tokens; i++)
        tokens[i] = (uint32_t)(rng_next(&rng) % config.vocab_size);
    struct net_batch batch = {run.options.n_sequences, run.options.seq_len, tokens, tokens + 1};
    quire_peaks peaks = {0};
    measure_peak(&peaks, net_isa(net), run.options.n_threads);
    double seconds = best_seconds(net, optim, &batch, run.n_steps);
    measure_peak(&peaks, net_isa(net), run.options.n_threads);
    double rate = net_n_operations(net, batch.n_sequences, batch.n_tokens) / seconds;
    double peak = quire_peaks_flops(&peaks, net_isa(net));
    printf("model,parameters,context,sequences,factors,recomputed,tokens_per_s,gops,peak_gops,share,planned_mib\n");
    printf("%s,%llu,%u,%u,%s,%d,%.0f,%.1f,%.1f,%.3f,%.0f\n", run.shape.name, (unsigned long long)net_n_parameters(net),
           run.options.seq_len, run.options.n_sequences, net_factors(net), run.options.recomputes,
           (double)n_tokens / seconds, 1e-9 * rate, 1e-9 * peak, rate / peak, (double)memory.total / 0x1p20);
    optim_close(optim);
    net_close(net);
    free(tokens);
    return 0;
}
