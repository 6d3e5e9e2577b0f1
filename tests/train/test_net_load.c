/* Weights from files: the net against the log-probabilities of the golden models, which are float64's and not ours. */
#include "cases.h"
#include "engine/golden.h"

static void check_folder(const char *name)
{
    quire_error err = {0};
    quire_model *model = golden_model(name);
    size_t n, n_wanted;
    int32_t *ids = golden_tokens(name, &n);
    double *wanted = golden_numbers(name, "logprobs.txt", &n_wanted), sum = 0;
    float *nll = malloc(n_wanted * sizeof *nll);
    struct net *net = NULL;
    struct net_options options = {.n_sequences = 1, .seq_len = (uint32_t)n_wanted, .isa = float32_isa()};
    struct net_batch batch = {1, (uint32_t)n_wanted, (const uint32_t *)ids, (const uint32_t *)ids + 1};
    struct net_loss loss;
    CHECK_EQ_INT(n_wanted, n - 1);
    REQUIRE_OK(net_open(&net, quire_model_config(model), &options, &err));
    CHECK_OK(net_load(net, model, &err));
    CHECK_EQ_INT(net_n_parameters(net), quire_model_n_parameters(model));
    CHECK_OK(net_forward(net, &batch, &loss, nll, &err));
    for (size_t i = 0; i < n_wanted; i++) {
        CHECK_NEAR(nll[i], -wanted[i], 1e-4);
        sum -= wanted[i];
    }
    CHECK_NEAR(loss.nll, sum, 1e-5 * fabs(sum));
    if (test_n_failed_checks > 0)
        fprintf(stderr, "in %s\n", name);
    net_close(net);
    quire_model_close(model);
    free(ids);
    free(wanted);
    free(nll);
}

static void golden_models(void)
{
    static const char *const names[] = {
        "mosaic-A",
        "mosaic-B",
        "mosaic-C",
        "mosaic-D",
        "mosaic-E",
        "mosaic-G",
        "random-biases",
        "random-heads-12-single",
        "random-mosaic-gpt",
        "random-no-positions",
        "random-qk-ln-grouped-biases",
        "random-rmsnorm",
        "random-sharded",
        "random-softmax-scale-ratio-3",
        "random-untied",
        "gguf-everything-f16",
        "gguf-learned-positions-f16",
        "gguf-storywriter-q8_0",
        "gguf-storywriter-bf16",
        "gguf-head-dim-112-q4_0",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0] && test_n_failed_checks == 0; i++)
        check_folder(names[i]);
}

static void refuses_another(void)
{
    quire_error err = {0};
    quire_model *model = golden_model("mosaic-B");
    quire_config config = *quire_model_config(model);
    struct net *net = NULL;
    struct net_options options = {.n_sequences = 1, .seq_len = 4, .n_threads = 1};
    config.norm_eps = 0.25f;
    REQUIRE_OK(net_open(&net, &config, &options, &err));
    CHECK_EQ_INT(net_load(net, model, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "norm_eps is not the same");
    net_close(net);
    quire_model_close(model);
}

static const struct test tests[] = {
    {"golden_models", golden_models},
    {"refuses_another", refuses_another},
};

TEST_MAIN(tests)
