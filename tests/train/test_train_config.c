/* The configuration: what is read, what is refused and how it is said, that it reads back as it was written. */
#include "test.h"
#include "train/optim.h"
#include "train/train_config.h"

#define NEEDED                                                                                                         \
    "max_duration: 100ba\nglobal_train_batch_size: 8\nsave_folder: out\ntrain_loader: {dataset: {local: texts}}\n"

static quire_status parse(struct train_config *config, const char *text, quire_error *err)
{
    *err = (quire_error){0};
    return train_config_parse(config, NULL, text, strlen(text), "c.yaml", err);
}

static void check_refused(const char *text, const char *message)
{
    quire_error err;
    struct train_config config = {0};
    CHECK_EQ_INT(parse(&config, text, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, message);
    train_config_release(&config);
}

static void defaults_are_those_of_the_table(void)
{
    quire_error err;
    struct train_config config = {0};
    char text[256];
    REQUIRE_OK(parse(&config, NEEDED, &err));
    for (size_t i = 0; i < n_train_config_rows; i++)
        if (train_config_rows[i].shown_default) {
            train_config_format(text, sizeof text, &config, &train_config_rows[i]);
            const char *wanted = train_config_rows[i].shown_default;
            if (strcmp(text, "'Once upon a time'") != 0)
                CHECK_EQ_STR(text, wanted);
        }
    train_config_release(&config);
}

static void values_of_every_kind_are_read(void)
{
    quire_error err;
    struct train_config c = {0};
    REQUIRE_OK(parse(&c,
                     "# a comment\n"
                     "model:\n  d_model: 1_024\n  attn_config:\n    clip_qkv: 6\n    alibi_bias_max: 16.5\n"
                     "  init_config: {name: small_init_}\n"
                     "optimizer:\n  name: decoupled_adamw\n  lr: 1.2e-4\n  betas:\n    - 0.9\n    - 0.95\n"
                     "precision: fp32\nseed: 9007199254740991\nrun_name: 'it''s: 1'\n"
                     "eval_interval: 20_000_000tok\n"
                     "max_duration: 100ba\nglobal_train_batch_size: 8\nsave_folder: \"a b\"\n"
                     "train_loader: {dataset: {local: texts, shuffle: false}}\n",
                     &err));
    CHECK_EQ_INT(c.model.d_model, 1024);
    CHECK_NEAR(c.model.attn_config.clip_qkv, 6, 0);
    CHECK_NEAR(c.model.attn_config.alibi_bias_max, 16.5, 0);
    CHECK_EQ_INT(c.model.init_config.name, 1);
    CHECK_EQ_INT(c.optimizer.name, OPTIM_ADAMW);
    CHECK_NEAR(c.optimizer.lr, 1.2e-4, 0);
    CHECK_NEAR(c.optimizer.betas[1], 0.95, 0);
    CHECK_EQ_INT(c.precision, 0);
    CHECK_EQ_INT(c.seed, 9007199254740991);
    CHECK_EQ_STR(c.run_name, "it's: 1");
    CHECK_EQ_STR(c.save_folder, "a b");
    CHECK(!c.train_data.shuffle);
    CHECK(c.eval_interval.is_tokens);
    CHECK_EQ_INT(train_config_steps(&c, c.eval_interval), 1221); /* 20e6 / (8 x 2048), rounded up */
    train_config_release(&c);
}

static void what_is_written_reads_back(void)
{
    quire_error err;
    struct train_config a = {0};
    char *file = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&file, &n);
    REQUIRE_OK(
        parse(&a,
              "optimizer: {lr: 0.0001234567890123, betas: [0, 0.9375]}\nrun_name: 'null'\nsample_prompt: '- #x'\n"
              "model: {attn_config: {clip_qkv: 0.1}}\n" NEEDED,
              &err));
    for (size_t i = 0; i < n_train_config_rows; i++) { /* a key with dots is one that YAML takes as it is: nest it */
        char value[512], key[128];
        int depth = 0;
        train_config_format(value, sizeof value, &a, &train_config_rows[i]);
        snprintf(key, sizeof key, "%s", train_config_rows[i].key);
        for (char *part = strtok(key, "."); part; part = strtok(NULL, "."), depth++)
            fprintf(f, "%s%s: ", depth > 0 ? "{" : "", part);
        fprintf(f, "%s", value);
        for (; depth > 1; depth--)
            fprintf(f, "}");
        fprintf(f, "\n");
    }
    fclose(f);
    /* Each line by itself, since the same mapping must not stand twice; the needed keys beside it. */
    for (char *line = strtok(file, "\n"); line; line = strtok(NULL, "\n")) {
        char text[1024];
        bool is_needed = strstr(line, "max_duration") || strstr(line, "global_train") || strstr(line, "save_folder") ||
                         strstr(line, "train_loader");
        if (is_needed)
            continue;
        snprintf(text, sizeof text, "%s\n%s", line, NEEDED);
        struct train_config c = {0};
        CHECK_OK(parse(&c, text, &err));
        train_config_release(&c);
    }
    free(file);
    train_config_release(&a);
}

static void mistakes_are_named_with_their_line(void)
{
    check_refused("optimizer:\n  learning_rate: 1\n" NEEDED, "line 2: unknown key 'optimizer.learning_rate'");
    check_refused("optimiser: {lr: 1}\n" NEEDED, "nearest one is 'optimizer.lr'");
    check_refused("d_model: 64\n" NEEDED, "nearest one is 'model.d_model'");
    check_refused("model: {n_head: 4}\n" NEEDED, "nearest one is 'model.n_heads'");
    check_refused("\n\nmodel: {d_model: 4}\n" NEEDED,
                  "line 3: model.d_model is '4', expected a whole number from 8 to");
    check_refused("model: {d_model: -8}\n" NEEDED, "model.d_model is '-8'");
    check_refused("model: {d_model: 64.5}\n" NEEDED, "model.d_model is '64.5'");
    check_refused("model: {d_model: 99999999999999999999}\n" NEEDED, "expected a whole number");
    check_refused("model: {d_model: null}\n" NEEDED, "leave the key out");
    check_refused("optimizer: {lr: nan}\n" NEEDED, "expected a number from");
    check_refused("optimizer: {lr: 0x1p-3}\n" NEEDED, "expected a number from");
    check_refused("optimizer: {lr: [1]}\n" NEEDED, "one value, not a list");
    check_refused("optimizer: {betas: 0.9}\n" NEEDED, "a list of two numbers");
    check_refused("optimizer: {betas: [0.9, 1]}\n" NEEDED, "expected a number from 0 to");
    check_refused("optimizer: {betas: [0.9]}\n" NEEDED, "a list of two numbers");
    check_refused("optimizer: {betas: [0.9, 0.9, 0.9]}\n" NEEDED, "expected");
    check_refused("optimizer: {name: adam}\n" NEEDED, "expected decoupled_lionw, decoupled_adamw or muon");
    check_refused("eval_interval: 500\n" NEEDED, "such as 500ba or 20000000tok");
    check_refused("eval_interval: 5ep\n" NEEDED, "such as 500ba or 20000000tok");
    check_refused("save_interval: 0ba\n" NEEDED, "more than nothing");
    check_refused("model: {no_bias: yes}\n" NEEDED, "expected true or false");
    check_refused("global_train_batch_size: 8\n" NEEDED, "'global_train_batch_size' stands on line 1 already");
    check_refused("max_duration: 100ba\n", "the key 'train_loader.dataset.local' is missing");
    check_refused("device_train_microbatch_size: 3\n" NEEDED, "not a multiple");
    check_refused("holdout: {fraction: 0.1, list: a}\n" NEEDED, "exclude each other");
    check_refused("holdout: {fraction: 0.1}\neval_loader: {dataset: {local: x}}\n" NEEDED, "only one of the two");
    check_refused("scheduler: {t_warmup: 101ba}\n" NEEDED,
                  "scheduler.t_warmup, 101ba, is longer than max_duration, 100ba");
    check_refused("tokenizer: {name: ~}\nsave_folder: null\nmax_duration: 9ba\ntrain_loader: {dataset: {local: x}}\n",
                  "save_folder");
    check_refused("run_name: ${oc.env:QUIRE_TEST_NOT_SET}\n" NEEDED, "environment variable QUIRE_TEST_NOT_SET");
    check_refused("run_name: ${model.d_model}\n" NEEDED, "${oc.env:NAME}");
}

static void the_rest_of_yaml_is_refused(void)
{
    check_refused("a: &x 1\n", "anchors");
    check_refused("a: &x {b: 1}\nc: *x\n", "anchors");
    check_refused("seed: !!int 1\n", "tags");
    check_refused("a: {<<: {b: 1}}\n", "merge keys");
    check_refused("- a\n", "expected keys");
    check_refused("--- {seed: 1}\n--- {seed: 2}\n", "second document");
    check_refused("a: [[1]]\n", "a list may hold numbers and words only");
    check_refused("? [a]\n: 1\n", "a key has to be a word");
    check_refused("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "too deeply");
    check_refused("a: 'x\n", "not valid YAML");
    check_refused("a: \"\\0\"\n", "NUL");
    check_refused("\x01", "not valid YAML");
}

static void values_come_from_the_environment(void)
{
    quire_error err;
    struct train_config c = {0};
    setenv("QUIRE_TEST_BOOKS", "/some/where", 1);
    unsetenv("QUIRE_TEST_NOT_SET");
    REQUIRE_OK(
        parse(&c, "run_name: a${oc.env:QUIRE_TEST_BOOKS}/b\nsample_prompt: ${oc.env:QUIRE_TEST_NOT_SET,else}\n" NEEDED,
              &err));
    CHECK_EQ_STR(c.run_name, "a/some/where/b");
    CHECK_EQ_STR(c.sample_prompt, "else");
    train_config_release(&c);
    setenv("QUIRE_TEST_ALIBI", "false", 1);
    REQUIRE_OK(parse(&c,
                     "model:\n  d_model: ${oc.env:QUIRE_TEST_NOT_SET,512}\n"
                     "  attn_config:\n    alibi: ${oc.env:QUIRE_TEST_ALIBI}\n"
                     "optimizer:\n  lr: ${oc.env:QUIRE_TEST_NOT_SET,5}e-4\n" NEEDED,
                     &err));
    CHECK_EQ_INT(c.model.d_model, 512);
    CHECK(!c.model.attn_config.alibi);
    CHECK_NEAR(c.optimizer.lr, 5e-4, 1e-12);
    train_config_release(&c);
    setenv("QUIRE_TEST_ALIBI", "perhaps", 1);
    check_refused("model: {attn_config: {alibi: '${oc.env:QUIRE_TEST_ALIBI}'}}\n" NEEDED,
                  "model.attn_config.alibi is 'perhaps', expected true or false");
}

static void json_is_read_too(void)
{
    quire_error err;
    struct train_config c = {0};
    REQUIRE_OK(
        parse(&c,
              "{\"max_duration\": \"100ba\", \"global_train_batch_size\": 8, \"save_folder\": \"out\",\n"
              " \"train_loader\": {\"dataset\": {\"local\": \"texts\"}}, \"optimizer\": {\"betas\": [0.5, 0.25]}}",
              &err));
    CHECK_NEAR(c.optimizer.betas[1], 0.25, 0);
    train_config_release(&c);
}

static const struct test tests[] = {
    {"defaults are those of the table", defaults_are_those_of_the_table},
    {"values of every kind are read", values_of_every_kind_are_read},
    {"what is written reads back", what_is_written_reads_back},
    {"mistakes are named with their line", mistakes_are_named_with_their_line},
    {"the rest of YAML is refused", the_rest_of_yaml_is_refused},
    {"values come from the environment", values_come_from_the_environment},
    {"JSON is read too", json_is_read_too},
};
TEST_MAIN(tests)
