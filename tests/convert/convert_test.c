#include "convert_test.h"

#include <dirent.h>
#include <ftw.h>
#include <unistd.h>

#include "base/blocks.h"
#include "model/model.h"

quire_config made_config(uint32_t d_model)
{
    return (quire_config){.d_model = d_model,
                          .n_heads = 4,
                          .kv_n_heads = 2,
                          .head_dim = d_model / 4,
                          .n_layers = 2,
                          .d_ff = 3 * d_model,
                          .max_seq_len = 64,
                          .no_bias = false,
                          .alibi = true,
                          .alibi_bias_max = 16,
                          .clip_qkv = 6.5f,
                          .qk_ln = true,
                          .softmax_scale = 0.3f,
                          .logit_scale = 0.7f,
                          .norm_type = QUIRE_NORM_LAYERNORM,
                          .norm_eps = 2e-5f,
                          .tie_word_embeddings = false};
}

void made_open(struct made *made, const quire_config *config, const char *tokenizer, uint64_t seed)
{
    quire_error err = {0};
    *made = (struct made){.config = *config};
    REQUIRE_OK(quire_tokenizer_open_path(&made->tokenizer, tokenizer, &err));
    made->config.vocab_size = quire_tokenizer_n_tokens(made->tokenizer) + 5;
    REQUIRE_OK(weights_list(&made->weights, &made->content.n_weights, &made->config, &err));
    made->data = calloc(made->content.n_weights, sizeof *made->data);
    for (size_t i = 0; i < made->content.n_weights; i++) {
        size_t n = (size_t)made->weights[i].rows * made->weights[i].cols;
        float *numbers = malloc(n * sizeof *numbers);
        for (size_t j = 0; j < n; j++)
            numbers[j] = 0.1f * test_random_float(&seed);
        made->data[i] = (struct weight_data){QUIRE_DTYPE_F32, numbers};
    }
    REQUIRE_OK(about_init(&made->about, "test-model", QUIRE_PROMPT_INSTRUCT, made->tokenizer, &err));
    made->content.config = &made->config;
    made->content.weights = made->weights;
    made->content.data = made->data;
    made->content.about = &made->about;
    made->content.tokenizer = made->tokenizer;
}

void made_close(struct made *made)
{
    for (size_t i = 0; i < made->content.n_weights; i++)
        free((void *)(uintptr_t)made->data[i].data);
    free(made->data);
    free(made->weights);
    about_release(&made->about);
    quire_tokenizer_close(made->tokenizer);
}

char *place_make(void)
{
    /* In memory where that can be had: each output is synced, which a busy disk answers slowly. */
    const char *parent = getenv("TMPDIR");
    char *place = NULL;
    if (!parent || !*parent)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    if (asprintf(&place, "%s/quire-test-XXXXXX", parent) < 0 || !mkdtemp(place)) {
        perror("test set-up: cannot make a folder");
        exit(1);
    }
    return place;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st, (void)kind, (void)place;
    return remove(path);
}

void place_remove(char *place)
{
    nftw(place, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(place);
}

const char *place_path(const char *place, const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", place, name);
    return path;
}

size_t place_count(const char *place)
{
    size_t n = 0;
    DIR *list = opendir(place);
    for (struct dirent *entry; list && (entry = readdir(list));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (list)
        closedir(list);
    return n;
}

quire_model *model_at(const char *path)
{
    quire_error err = {0};
    quire_model *model = NULL;
    REQUIRE_OK(quire_model_open(&model, path, &err));
    return model;
}

void convert(const char *from, const char *to, const quire_convert_options *options)
{
    quire_error err = {0};
    quire_model *model = model_at(from);
    REQUIRE_OK(quire_convert(model, to, options, &err));
    quire_model_close(model);
}

quire_convert_options type_options(quire_dtype type)
{
    quire_convert_options options = quire_convert_defaults();
    options.has_type = true;
    options.type = type;
    return options;
}

static void check_config(const quire_config *a, const quire_config *b)
{
    CHECK_EQ_INT(a->d_model, b->d_model);
    CHECK_EQ_INT(a->n_heads, b->n_heads);
    CHECK_EQ_INT(a->kv_n_heads, b->kv_n_heads);
    CHECK_EQ_INT(a->head_dim, b->head_dim);
    CHECK_EQ_INT(a->n_layers, b->n_layers);
    CHECK_EQ_INT(a->d_ff, b->d_ff);
    CHECK_EQ_INT(a->max_seq_len, b->max_seq_len);
    CHECK_EQ_INT(a->vocab_size, b->vocab_size);
    CHECK_EQ_INT(a->no_bias, b->no_bias);
    CHECK_EQ_INT(a->alibi, b->alibi);
    if (a->alibi) /* means nothing else */
        CHECK_NEAR(a->alibi_bias_max, b->alibi_bias_max, 0);
    CHECK_NEAR(a->clip_qkv, b->clip_qkv, 0);
    CHECK_EQ_INT(a->qk_ln, b->qk_ln);
    CHECK_NEAR(a->softmax_scale, b->softmax_scale, 0);
    CHECK_NEAR(a->logit_scale, b->logit_scale, 0);
    CHECK_EQ_INT(a->learned_pos_emb, b->learned_pos_emb);
    CHECK_EQ_INT(a->norm_type, b->norm_type);
    CHECK_NEAR(a->norm_eps, b->norm_eps, 0);
    CHECK_EQ_INT(a->tie_word_embeddings, b->tie_word_embeddings);
}

static void check_numbers(const struct weight *a, const struct weight *b, bool exact)
{
    size_t n = (size_t)a->rows * a->cols, n_differ = 0;
    CHECK_EQ_STR(a->hf_name, b->hf_name);
    CHECK_EQ_INT(a->rows, b->rows);
    CHECK_EQ_INT(a->cols, b->cols);
    if (exact && !a->is_vector) {
        CHECK_EQ_STR(a->tensor->type_name, b->tensor->type_name);
        CHECK(a->tensor->n_bytes == b->tensor->n_bytes &&
              memcmp(a->tensor->data, b->tensor->data, a->tensor->n_bytes) == 0);
        return;
    }
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    blocks_unpack(a->tensor->type, x, a->tensor->data, n);
    blocks_unpack(b->tensor->type, y, b->tensor->data, n);
    for (size_t i = 0; i < n; i++)
        n_differ += memcmp(&x[i], &y[i], sizeof x[i]) != 0;
    if (n_differ > 0)
        fprintf(stderr, "%s: %zu of %zu numbers differ\n", a->hf_name, n_differ, n);
    CHECK_EQ_INT(n_differ, 0);
    free(x);
    free(y);
}

bool is_same(const char *path_a, const char *path_b, bool exact)
{
    quire_error err = {0};
    quire_model *a = model_at(path_a), *b = model_at(path_b);
    struct weight *of_a, *of_b;
    size_t n_a, n_b;
    int n_before = test_n_failed_checks;
    check_config(quire_model_config(a), quire_model_config(b));
    CHECK_EQ_STR(quire_model_name(a), quire_model_name(b));
    CHECK_EQ_INT(quire_model_prompt_format(a), quire_model_prompt_format(b));
    REQUIRE_OK(weights_list_of(&of_a, &n_a, a, &err));
    REQUIRE_OK(weights_list_of(&of_b, &n_b, b, &err));
    CHECK_EQ_INT(n_a, n_b);
    for (size_t i = 0; i < n_a && n_a == n_b; i++)
        check_numbers(&of_a[i], &of_b[i], exact);
    if (test_n_failed_checks != n_before)
        fprintf(stderr, "'%s' and '%s' are not the same model\n", path_a, path_b);
    free(of_a);
    free(of_b);
    quire_model_close(a);
    quire_model_close(b);
    return test_n_failed_checks == n_before;
}
