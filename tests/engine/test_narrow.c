/* Tables that round the factors of products to less than float32, against float32: on a trained model and real text. */
#include "golden.h"
#include "kernels/kernels.h"
#include "test.h"

#ifdef TEST_SANITIZED /* what they look for is found in fewer tokens */
enum { N_TOKENS = 400 };
#else
enum { N_TOKENS = 3000 };
#endif

static const char *source_path(char path[512], const char *name)
{
    snprintf(path, 512, "%s/%s", QUIRE_SOURCE_DIR, name);
    return path;
}

/* The beginning of the sample story, in the vocabulary of the model that ships. */
static int32_t *story_ids(const quire_model *model, size_t *n)
{
    char path[512];
    quire_error err = {0};
    quire_tokenizer *tokenizer;
    int32_t *ids = NULL;
    static char text[1 << 20];
    FILE *file = fopen(source_path(path, "corpora/sample/the-lamplighter.txt"), "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t n_bytes = fread(text, 1, sizeof text, file);
    fclose(file);
    REQUIRE_OK(quire_tokenizer_open(&tokenizer, model, &err));
    REQUIRE_OK(quire_encode(tokenizer, text, n_bytes, false, &ids, n, &err));
    quire_tokenizer_close(tokenizer);
    return ids;
}

/* What a table's products may do to a log-probability, in nats; and far_share: of so many tokens one may move by more
 * than 0.02. */
struct allowed {
    double largest;
    size_t far_share;
};

/* Every narrow table against float32, with keys and values of one type. */
static void compare_tables(quire_kv_type kv_type, struct allowed fixed, struct allowed bf16)
{
    char path[512];
    quire_error err = {0};
    quire_model *model;
    REQUIRE_OK(quire_model_open(&model, source_path(path, "models/storyteller-7m/storyteller.gguf"), &err));
    size_t n;
    int32_t *ids = story_ids(model, &n);
    n = n < N_TOKENS ? n : N_TOKENS;
    quire_engine_options opts = quire_engine_defaults();
    opts.kv_type = kv_type;
    opts.isa = float32_isa();
    struct reading want = read_ids(model, &opts, ids, n);
    const struct kernels *kernels;
    int runs;
    for (size_t i = 0; (kernels = kernels_at(i, &runs)) != NULL; i++) {
        if (!runs || kernels->gemm == kernels->gemm_exact)
            continue;
        opts.isa = kernels->name;
        struct allowed allowed = strcmp(kernels->gemm->name, "bf16") == 0 ? bf16 : fixed;
        struct reading got = read_ids(model, &opts, ids, n);
        double largest = 0, total = 0, sum = 0, want_sum = 0;
        size_t n_far = 0;
        for (size_t t = 1; t < n; t++) {
            double difference = fabs((double)got.logprobs[t] - (double)want.logprobs[t]);
            largest = fmax(largest, difference);
            total += difference;
            n_far += difference > 2e-2;
            sum -= (double)got.logprobs[t];
            want_sum -= (double)want.logprobs[t];
        }
        printf("     %s: %zu tokens, difference %.4f nats in the mean, %.4f at most, %zu above 0.02, perplexity %.5f "
               "against %.5f\n",
               kernels->name, n, total / (double)(n - 1), largest, n_far, exp(sum / (double)(n - 1)),
               exp(want_sum / (double)(n - 1)));
        CHECK(largest > 0); /* else this compares nothing */
        CHECK(largest <= allowed.largest);
        CHECK(n_far <= n / allowed.far_share);
        CHECK_NEAR(exp((sum - want_sum) / (double)(n - 1)), 1.0, 1e-3);
        reading_release(&got);
    }
    reading_release(&want);
    free(ids);
    quire_model_close(model);
}

/* The better a model has learned the more its numbers are moved by the same rounding. In fixed point 0.0032, 0.021 and
 * 0.073 at most are seen with the weights of now, where it was 0.0032, 0.018 and 0.037 with those before. In bfloat16
 * it was up to 0.08 for the second on a processor with AMX, with the weights before; with these it has not been seen,
 * so that its bounds are wide. What is wrong in a kernel moves perplexity, which has its own. */
static void products(void)
{
    compare_tables(QUIRE_KV_F32, (struct allowed){5e-3, N_TOKENS}, (struct allowed){0.15, 50});
}

/* Attention's factors are rounded too; and a key that lies near the middle may round the other way. */
static void products_and_attention(void)
{
    compare_tables(QUIRE_KV_BF16, (struct allowed){4e-2, 500}, (struct allowed){0.3, 20});
}

/* Keys and values in 8 bits, which such attention takes by way of bfloat16. */
static void products_and_int8(void)
{
    compare_tables(QUIRE_KV_INT8, (struct allowed){0.12, 50}, (struct allowed){0.5, 8});
}

static const struct test tests[] = {
    {"products", products},
    {"products_and_attention", products_and_attention},
    {"products_and_int8", products_and_int8},
};

TEST_MAIN(tests)
