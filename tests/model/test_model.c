/* Whole models: every golden folder opens, and folders and files that are wrong in one way each are refused by name. */
#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/sys.h"
#include "files.h"
#include "model/model.h"
#include "test.h"

/* A copy of a golden model in a folder of its own, to be damaged. */
static char *copy_model(const char *golden, const char *const *files)
{
    char *folder = folder_make(), from[256];
    for (; *files; files++) {
        snprintf(from, sizeof from, "%s/%s", golden, *files);
        struct bytes bytes = file_read(golden_path(from));
        file_write(folder, *files, bytes.data, bytes.n);
        bytes_release(&bytes);
    }
    return folder;
}

#define COPY(golden) copy_model(golden, (const char *const[]){"config.json", "model.safetensors", NULL})

/* Replaces the first `from` in folder/name by `to`, which is as long. */
static void edit(const char *folder, const char *name, const char *from, const char *to)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct bytes bytes = file_read(path);
    unsigned char *at = memmem(bytes.data, bytes.n, from, strlen(from));
    CHECK(at != NULL && strlen(from) == strlen(to));
    if (at)
        memcpy(at, to, strlen(to));
    file_write(folder, name, bytes.data, bytes.n);
    bytes_release(&bytes);
}

static void check_refused(const char *path, quire_status expected, const char *message)
{
    quire_error err = {0};
    quire_model *model = NULL;
    CHECK_EQ_INT(quire_model_open(&model, path, &err), expected);
    CHECK(model == NULL);
    CHECK_MESSAGE(err, message);
    quire_model_close(model);
}

/* Refused, and the folder goes away. */
static void check_refused_folder(char *folder, quire_status expected, const char *message)
{
    check_refused(folder, expected, message);
    folder_remove(folder);
}

static void check_layer(const quire_config *c, const struct layer *l)
{
    uint32_t kv = c->kv_n_heads * c->head_dim;
    CHECK(l->norm_1_weight && l->norm_2_weight);
    CHECK(!l->Wqkv_bias == c->no_bias && !l->down_proj_bias == c->no_bias && !l->up_proj_bias == c->no_bias);
    CHECK(!l->norm_1_bias == (c->no_bias || c->norm_type == QUIRE_NORM_RMSNORM));
    CHECK(!l->q_ln_weight == !c->qk_ln && !l->k_ln_bias == (!c->qk_ln || c->no_bias));
    CHECK_EQ_INT(l->Wqkv.rows, c->d_model + 2 * kv);
    CHECK_EQ_INT(l->Wqkv.cols, c->d_model);
    CHECK_EQ_INT(l->up_proj.rows, c->d_ff);
    CHECK_EQ_INT(l->down_proj.cols, c->d_ff);
    CHECK_EQ_INT(l->down_proj.row_bytes,
                 c->d_ff / quire_dtype_block_elements(l->down_proj.type) * quire_dtype_block_bytes(l->down_proj.type));
}

static void opens_every_golden_model(void)
{
    DIR *dir = opendir(golden_path(""));
    int n_models = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[4096];
        struct stat st;
        bool is_gguf = strncmp(entry->d_name, "gguf-", 5) == 0;
        snprintf(path, sizeof path, "%s%s", golden_path(entry->d_name), is_gguf ? "/model.gguf" : "");
        bool is_recipe = strncmp(entry->d_name, "types-", 6) == 0; /* test_golden makes these */
        if (entry->d_name[0] == '.' || is_recipe || stat(path, &st) != 0 || (!is_gguf && !S_ISDIR(st.st_mode)))
            continue;
        quire_error err = {0};
        quire_model *model = NULL;
        REQUIRE_OK(quire_model_open(&model, path, &err));
        const quire_config *c = quire_model_config(model);
        for (uint32_t i = 0; i < c->n_layers; i++)
            check_layer(c, &model->layers[i]);
        CHECK_EQ_INT(quire_model_n_unused_tensors(model), 0);
        CHECK((model->lm_head.data == model->wte.data) == c->tie_word_embeddings);
        CHECK_EQ_INT(model->lm_head.rows, c->vocab_size);
        CHECK_EQ_INT(model->wpe.rows, c->learned_pos_emb ? c->max_seq_len : 0);
        CHECK((model_gguf(model) != NULL) == is_gguf && (model_tokenizer_path(model) == NULL) == is_gguf);
        CHECK_EQ_INT(strlen(quire_model_fingerprint(model)), 32);
        CHECK_EQ_STR(quire_model_path(model), path);
        quire_model_close(model);
        n_models++;
    }
    if (dir)
        closedir(dir);
    CHECK(n_models >= 9 + 14 + 2 + 12 + 1);
}

static void reads_weights_and_counts(void)
{
    quire_error err = {0};
    quire_model *model;
    REQUIRE_OK(quire_model_open(&model, golden_path("mosaic-A"), &err));
    static const float wte[] = {0.546875f, -0.5234375f, 0.0859375f, 0.0625f, 0.3203125f, -0.375f};
    static const float norm[] = {0.90625f, 1.0625f, 0.765625f, 0.78125f, 1.21875f, 1.140625f};
    for (int i = 0; i < 6; i++) {
        CHECK_NEAR(bf16_to_f32(load_u16((const char *)model->wte.data + 2 * i)), wte[i], 0);
        CHECK_NEAR(model->layers[0].norm_1_weight[i], norm[i], 0);
    }
    /* V d + L (12 d^2 + 2 d) + d */
    CHECK_EQ_INT(quire_model_n_parameters(model), 48 * 32 + 2 * (12 * 32 * 32 + 2 * 32) + 32);
    CHECK_EQ_INT(quire_model_weight_bytes(model), 2 * quire_model_n_parameters(model));
    CHECK_EQ_INT(quire_model_n_tensors(model), 1 + 2 * 6 + 1);
    uint32_t n;
    uint64_t n_bytes;
    quire_model_type_totals(model, QUIRE_DTYPE_BF16, &n, &n_bytes);
    CHECK_EQ_INT(n, 14);
    CHECK_EQ_INT(n_bytes, quire_model_weight_bytes(model));
    quire_model_type_totals(model, QUIRE_DTYPE_F32, &n, &n_bytes);
    CHECK_EQ_INT(n, 0);
    CHECK_EQ_STR(quire_model_name(model), "mosaic-A");
    CHECK_EQ_STR(quire_model_format_name(model), "huggingface safetensors");
    quire_model_close(model);
}

static void reads_gguf_types(void)
{
    static const struct {
        const char *path;
        quire_dtype type;
        const char *format;
    } files[] = {
        {"gguf-everything-f32/model.gguf", QUIRE_DTYPE_F32, "gguf v3"},
        {"gguf-everything-f16/model.gguf", QUIRE_DTYPE_F16, "gguf v2"},
        {"gguf-everything-bf16/model.gguf", QUIRE_DTYPE_BF16, "gguf v3"},
        {"gguf-everything-q8_0/model.gguf", QUIRE_DTYPE_Q8_0, "gguf v3"},
        {"gguf-everything-q4_0/model.gguf", QUIRE_DTYPE_Q4_0, "gguf v3"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        quire_error err = {0};
        quire_model *model;
        REQUIRE_OK(quire_model_open(&model, golden_path(files[i].path), &err));
        const quire_config *c = quire_model_config(model);
        CHECK_EQ_INT(model->wte.type, files[i].type);
        CHECK_EQ_INT(model->layers[0].up_proj.type, files[i].type);
        CHECK_EQ_STR(quire_model_format_name(model), files[i].format);
        CHECK_EQ_STR(quire_model_name(model), "everything");
        CHECK(!c->no_bias && c->qk_ln && c->alibi && !c->learned_pos_emb && !c->tie_word_embeddings);
        CHECK_EQ_INT(c->kv_n_heads, 2);
        CHECK_EQ_INT(c->vocab_size, 56);
        CHECK_NEAR(c->logit_scale, 0.75, 0);
        CHECK_NEAR(c->softmax_scale, 0.3, 1e-7);
        quire_model_close(model);
    }
}

static void names_missing_and_misshapen_tensors(void)
{
    char *folder = COPY("mosaic-A");
    edit(folder, "model.safetensors", "blocks.1.norm_2.weight", "blocks.1.norm_x.weight");
    check_refused_folder(folder, QUIRE_ERR_FORMAT,
                         "has no tensor 'transformer.blocks.1.norm_2.weight', expected one of shape [32]");
    folder = COPY("mosaic-A");
    edit(folder, "model.safetensors", "transformer.wte.weight", "transformer.wxe.weight");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "has no tensor 'transformer.wte.weight'");
    folder = COPY("mosaic-A");
    edit(folder, "model.safetensors", "[48,32]", "[32,48]");
    check_refused_folder(folder, QUIRE_ERR_FORMAT,
                         "model.safetensors': tensor 'transformer.wte.weight' has shape [32, 48], expected [48, 32]");
    folder = COPY("mosaic-A");
    edit(folder, "model.safetensors", "[96,32]", "[3072] ");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "attn.Wqkv.weight' has shape [3072], expected [96, 32]");
    folder = COPY("mosaic-A");
    edit(folder, "model.safetensors", "\"BF16\"", "\"I16\" ");
    check_refused_folder(folder, QUIRE_ERR_UNSUPPORTED, "tensor 'transformer.wte.weight' is of type I16");
    folder = COPY("mosaic-A");
    edit(folder, "config.json", "\"n_layers\": 2", "\"n_layers\": 3");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "has no tensor 'transformer.blocks.2.norm_1.weight'");
    folder = COPY("mosaic-D");
    edit(folder, "config.json", "\"no_bias\": false", "\"no_bias\": true ");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "has a tensor 'transformer.norm_f.bias', but");
    folder = COPY("mosaic-D-nobias");
    edit(folder, "config.json", "\"qk_ln\": true", "\"qk_ln\":false");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "q_ln.weight', but the model's configuration says no qk_ln");
    folder = COPY("mosaic-A");
    edit(folder, "config.json", "\"n_layers\": 2", "\"n_layers\":\"2");
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "config.json' is not valid JSON");
}

static void names_what_is_wrong_with_a_gguf(void)
{
    const char *const files[] = {"model.gguf", NULL};
    static const struct {
        const char *from, *to;
        quire_status status;
        const char *message;
    } cases[] = {
        {"blk.0.ffn_up.weight", "blk.0.ffn_xx.weight", QUIRE_ERR_FORMAT,
         "has no tensor 'blk.0.ffn_up.weight', expected one of shape [128, 32]"},
        {"token_embd.weight", "token_emXd.weight", QUIRE_ERR_FORMAT, "has no tensor 'token_embd.weight'"},
        {"output_norm.bias", "output_norm.bixs", QUIRE_ERR_FORMAT, "has no tensor 'output_norm.bias'"},
        {"blk.0.attn_k_norm.bias", "blk.0.attn_k_norm.bixs", QUIRE_ERR_FORMAT, "'blk.0.attn_k_norm.bias'"},
        {"mpt.block_count", "mpt.block_xount", QUIRE_ERR_UNSUPPORTED, "key 'mpt.block_xount'"},
        {"mpt.block_count", "xpt.block_count", QUIRE_ERR_FORMAT, "has no key 'mpt.block_count'"},
        {"mpt.logit_scale", "mpt.block_xtype", QUIRE_ERR_UNSUPPORTED, "key 'mpt.block_xtype'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *folder = copy_model("gguf-everything-q4_0", files), path[4096];
        snprintf(path, sizeof path, "%s/model.gguf", folder);
        edit(folder, "model.gguf", cases[i].from, cases[i].to);
        check_refused(path, cases[i].status, cases[i].message);
        folder_remove(folder);
    }
}

/* The type in a GGUF's directory, behind a tensor's name, the number of its dimensions and those. */
static void set_type(struct bytes *file, const char *name, size_t n_dims, unsigned char type)
{
    unsigned char *at = memmem(file->data, file->n, name, strlen(name));
    CHECK(at != NULL);
    if (at)
        at[strlen(name) + 4 + 8 * n_dims] = type;
}

static void tells_gguf_types_by_name(void)
{
    char *folder = copy_model("gguf-everything-q4_0", (const char *const[]){"model.gguf", NULL}), path[4096];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    struct bytes file = file_read(path);
    set_type(&file, "blk.0.ffn_norm.weight", 1, 26); /* as large as F32 */
    file_write(folder, "model.gguf", file.data, file.n);
    check_refused(path, QUIRE_ERR_UNSUPPORTED,
                  "tensor 'blk.0.ffn_norm.weight' is of type I32, expected F32, F16 or BF16 for a vector");
    set_type(&file, "blk.0.ffn_norm.weight", 1, 0);
    set_type(&file, "blk.0.ffn_up.weight", 2, 12);
    file_write(folder, "model.gguf", file.data, file.n);
    check_refused(path, QUIRE_ERR_FORMAT,
                  "tensor 'blk.0.ffn_up.weight' of type Q4_K has rows of 32 numbers, expected a multiple of 256");
    set_type(&file, "blk.0.ffn_up.weight", 2, 2);
    unsigned char *architecture = memmem(file.data, file.n, "mpt", 3);
    CHECK(architecture != NULL);
    if (architecture)
        memcpy(architecture, "gpt", 3);
    file_write(folder, "model.gguf", file.data, file.n);
    check_refused(path, QUIRE_ERR_UNSUPPORTED, "the architecture is 'gpt'");
    bytes_release(&file);
    folder_remove(folder);
}

static void refuses_paths_that_are_no_model(void)
{
    char *folder = folder_make();
    check_refused("/nonexistent/model", QUIRE_ERR_IO, "cannot open '/nonexistent/model'");
    check_refused("", QUIRE_ERR_USAGE, "path");
    check_refused(folder, QUIRE_ERR_IO, "has no config.json");
    file_write(folder, "config.json", "{\"model_type\":\"mpt\"}", 20);
    check_refused(folder, QUIRE_ERR_IO, "has no weights");
    file_write(folder, "pytorch_model.bin", "PK\3\4", 4);
    check_refused(folder, QUIRE_ERR_FORMAT, "pytorch_model.bin' is cut short");
    check_refused(file_write(folder, "x.bin", "PK\3\4", 4), QUIRE_ERR_UNSUPPORTED, "name the folder that holds it");
    check_refused(file_write(folder, "x.bin", "\x80\2\x8a\n", 4), QUIRE_ERR_UNSUPPORTED, "before PyTorch 1.6");
    check_refused(file_write(folder, "x.ggml", "lmgg....", 8), QUIRE_ERR_UNSUPPORTED, "before GGUF");
    check_refused(file_write(folder, "x.txt", "words", 5), QUIRE_ERR_FORMAT, "is not a model");
    check_refused(file_write(folder, "x", "", 0), QUIRE_ERR_FORMAT, "is not a model");
    check_refused(file_write(folder, "x.gguf", "words", 5), QUIRE_ERR_FORMAT, "not a GGUF file");
    check_refused(file_write(folder, "y.safetensors", "12345678{}", 10), QUIRE_ERR_UNSUPPORTED, "name the folder");
    file_write(folder, "model.safetensors", "", 0);
    check_refused(folder, QUIRE_ERR_FORMAT, "cut short");
    folder_remove(folder);
}

/* A FIFO where any of a model's files should be: no writer comes, and nobody waits for one. */
static void refuses_fifos_at_once(void)
{
    static const struct {
        const char *model;
        const char *files[8]; /* each in its turn becomes a FIFO */
    } cases[] = {
        {"random-biases", {"config.json", "model.safetensors"}},
        {"random-sharded",
         {"config.json", "model.safetensors.index.json", "model-00001-of-00003.safetensors",
          "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}},
        {"gguf-storywriter-q8_0", {"model.gguf"}},
    };
    alarm(60);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; cases[i].files[k]; k++) {
            char *folder = copy_model(cases[i].model, cases[i].files), path[4096];
            snprintf(path, sizeof path, "%s/%s", folder, cases[i].files[k]);
            CHECK_EQ_INT(unlink(path), 0);
            CHECK_EQ_INT(mkfifo(path, 0600), 0);
            check_refused(strstr(path, ".gguf") ? path : folder, QUIRE_ERR_FORMAT,
                          "is a FIFO, expected a regular file");
            folder_remove(folder);
        }
    char *folder = COPY("random-biases"), path[4096];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    CHECK_EQ_INT(mkfifo(path, 0600), 0);
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "is a FIFO, expected a regular file");
    alarm(0);
}

static void opens_a_gguf_of_any_name(void)
{
    quire_error err = {0};
    quire_model *model;
    struct bytes file = file_read(golden_path("gguf-storywriter-q8_0/model.gguf"));
    char *folder = folder_make();
    REQUIRE_OK(quire_model_open(&model, file_write(folder, "blob", file.data, file.n), &err));
    CHECK_EQ_STR(quire_model_name(model), "storywriter");
    quire_model_close(model);
    folder_remove(folder);
    bytes_release(&file);
}

static void follows_an_index_but_not_out_of_the_folder(void)
{
    const char *const files[] = {"config.json",
                                 "model-00001-of-00003.safetensors",
                                 "model-00002-of-00003.safetensors",
                                 "model-00003-of-00003.safetensors",
                                 "model.safetensors.index.json",
                                 NULL};
    static const struct {
        const char *from, *to;
        quire_status status;
        const char *message;
    } cases[] = {
        {"\"model-00001-of-00003.safetensors\"", "\"../el-00001-of-00003.safetensors\"", QUIRE_ERR_FORMAT,
         "same folder"},
        {"\"model-00001-of-00003.safetensors\"", "\"/odel-00001-of-00003.safetensors\"", QUIRE_ERR_FORMAT,
         "same folder"},
        {"\"model-00001-of-00003.safetensors\"", "\"model-00009-of-00003.safetensors\"", QUIRE_ERR_IO, "00009"},
        {"\"model-00001-of-00003.safetensors\"", "12345678901234567890123456789012  ", QUIRE_ERR_FORMAT, "JSON"},
        {"\"model-00001-of-00003.safetensors\"", "[                                ]", QUIRE_ERR_FORMAT, "an array"},
        {"\"model-00001-of-00003.safetensors\"", "\"model-00002-of-00003.safetensors\"", QUIRE_ERR_FORMAT,
         "in 'model-00002-of-00003.safetensors', but model-00001-of-00003.safetensors has it"},
        {"\"weight_map\"", "\"weight_mop\"", QUIRE_ERR_FORMAT, "'weight_map'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *folder = copy_model("random-sharded", files);
        edit(folder, "model.safetensors.index.json", cases[i].from, cases[i].to);
        check_refused_folder(folder, cases[i].status, cases[i].message);
    }
    char *folder = copy_model("random-sharded", files), path[4096];
    snprintf(path, sizeof path, "%s/model-00002-of-00003.safetensors", folder);
    CHECK_EQ_INT(truncate(path, 700), 0);
    check_refused_folder(folder, QUIRE_ERR_FORMAT, "model-00002-of-00003.safetensors' is cut short");
}

/* Counts down at each system call that opening makes; the one that reaches 0 fails. */
static int calls_until_failure;

static int failing_open(const char *path, int flags, mode_t mode)
{
    errno = EMFILE;
    return --calls_until_failure == 0 ? -1 : sys_real.open(path, flags, mode);
}

static int failing_fstat(int fd, struct stat *st)
{
    errno = EIO;
    return --calls_until_failure == 0 ? -1 : sys_real.fstat(fd, st);
}

static void *failing_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    errno = ENOMEM;
    return --calls_until_failure == 0 ? MAP_FAILED : sys_real.mmap(address, n, protection, flags, fd, offset);
}

static ssize_t failing_pread(int fd, void *buffer, size_t n, off_t offset)
{
    errno = EIO;
    return --calls_until_failure == 0 ? -1 : sys_real.pread(fd, buffer, n, offset);
}

static void every_system_call_that_fails_is_an_error(void)
{
    static const char *const paths[] = {"random-sharded", "mosaic-A", "gguf-everything-q4_0/model.gguf"};
    sys.open = failing_open;
    sys.fstat = failing_fstat;
    sys.mmap = failing_mmap;
    sys.pread = failing_pread;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        int n_failures = 0, n = 0;
        do {
            quire_error err = {0};
            quire_model *model = NULL;
            calls_until_failure = ++n;
            quire_status status = quire_model_open(&model, golden_path(paths[i]), &err);
            n_failures += status == QUIRE_ERR_IO;
            CHECK(status == QUIRE_OK || status == QUIRE_ERR_IO);
            CHECK((status == QUIRE_OK) == (model != NULL) && (model != NULL) == (err.message[0] == '\0'));
            quire_model_close(model);
        } while (calls_until_failure <= 0 && n < 1000);
        /* All but the last few, which only look for hints at the prompt format. */
        CHECK(n_failures >= 5 && n - n_failures <= 6);
    }
    sys = sys_real;
}

/* Opens, copies out the fingerprint and closes. */
static void fingerprint_of(char out[33], const char *path)
{
    quire_error err = {0};
    quire_model *model;
    REQUIRE_OK(quire_model_open(&model, path, &err));
    snprintf(out, 33, "%s", quire_model_fingerprint(model));
    quire_model_close(model);
}

static void the_fingerprint_is_of_contents(void)
{
    char a[33], b[33];
    char *folder = COPY("mosaic-A"), path[4096];
    fingerprint_of(a, golden_path("mosaic-A"));
    fingerprint_of(b, folder);
    CHECK_EQ_STR(a, b); /* wherever it lies */
    fingerprint_of(b, golden_path("mosaic-Bnoclip"));
    CHECK(strcmp(a, b) != 0); /* the same weights under another configuration */
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    struct bytes file = file_read(path);
    file.data[file.n - 1] ^= 1;
    file_write(folder, "model.safetensors", file.data, file.n);
    fingerprint_of(b, folder);
    CHECK(strcmp(a, b) != 0); /* one bit of one weight */
    bytes_release(&file);
    folder_remove(folder);
}

static void an_lm_head_beside_a_tied_embedding_is_unused(void)
{
    quire_error err = {0};
    quire_model *model;
    char *folder = COPY("random-untied");
    edit(folder, "config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true ");
    REQUIRE_OK(quire_model_open(&model, folder, &err));
    CHECK_EQ_INT(quire_model_n_unused_tensors(model), 1);
    CHECK(model->lm_head.data == model->wte.data);
    quire_model_close(model);
    folder_remove(folder);
}

static void guesses_the_prompt_format(void)
{
    static const struct {
        const char *folder, *file, *text;
        quire_prompt_format format;
    } cases[] = {
        {"mpt-7b", NULL, NULL, QUIRE_PROMPT_PLAIN},
        {"mpt-7b-storywriter", NULL, NULL, QUIRE_PROMPT_PLAIN},
        {"mpt-7b-instruct", NULL, NULL, QUIRE_PROMPT_INSTRUCT},
        {"MPT-7B-Chat", NULL, NULL, QUIRE_PROMPT_CHATML},
        {"x", "tokenizer.json", "{\"added_tokens\":[{\"content\":\"<|im_start|>\"}]}", QUIRE_PROMPT_CHATML},
        {"x", "tokenizer_config.json", "{\"chat_template\":\"<|im_start|>\"}", QUIRE_PROMPT_CHATML},
        {"chat", "tokenizer_config.json", "{\"chat_template\":\"### Instruction:\"}", QUIRE_PROMPT_INSTRUCT},
        {"x", "chat_template.jinja", "###Instruction", QUIRE_PROMPT_INSTRUCT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        quire_model *model;
        char *parent = folder_make(), *folder = COPY("mosaic-A"), path[4096];
        if (cases[i].file)
            file_write(folder, cases[i].file, cases[i].text, strlen(cases[i].text));
        snprintf(path, sizeof path, "%s/%s", parent, cases[i].folder);
        CHECK_EQ_INT(rename(folder, path), 0);
        REQUIRE_OK(quire_model_open(&model, path, &err));
        CHECK_EQ_INT(quire_model_prompt_format(model), cases[i].format);
        CHECK_EQ_STR(quire_model_name(model), cases[i].folder);
        quire_model_close(model);
        CHECK_EQ_INT(rename(path, folder), 0);
        folder_remove(folder);
        folder_remove(parent);
    }
}

static const struct test tests[] = {
    {"opens_every_golden_model", opens_every_golden_model},
    {"reads_weights_and_counts", reads_weights_and_counts},
    {"reads_gguf_types", reads_gguf_types},
    {"names_missing_and_misshapen_tensors", names_missing_and_misshapen_tensors},
    {"names_what_is_wrong_with_a_gguf", names_what_is_wrong_with_a_gguf},
    {"tells_gguf_types_by_name", tells_gguf_types_by_name},
    {"refuses_paths_that_are_no_model", refuses_paths_that_are_no_model},
    {"refuses_fifos_at_once", refuses_fifos_at_once},
    {"opens_a_gguf_of_any_name", opens_a_gguf_of_any_name},
    {"follows_an_index_but_not_out_of_the_folder", follows_an_index_but_not_out_of_the_folder},
    {"every_system_call_that_fails_is_an_error", every_system_call_that_fails_is_an_error},
    {"the_fingerprint_is_of_contents", the_fingerprint_is_of_contents},
    {"an_lm_head_beside_a_tied_embedding_is_unused", an_lm_head_beside_a_tied_embedding_is_unused},
    {"guesses_the_prompt_format", guesses_the_prompt_format},
};
TEST_MAIN(tests)
