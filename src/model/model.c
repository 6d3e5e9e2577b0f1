/* Opening a model, and the questions that one may ask it. */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "config.h"
#include "fingerprint.h"
#include "json.h"
#include "prompt_guess.h"
#include "source.h"
#include "weights.h"

/* What lies at path, and the first bytes of a file. */
struct look {
    bool is_folder;
    unsigned char magic[8];
    size_t n_magic;
};

static quire_status look_at(struct look *out, const char *path, quire_error *err)
{
    struct stat st;
    int fd;
    out->is_folder = sys_is_folder(path);
    if (out->is_folder)
        return QUIRE_OK;
    quire_status status = sys_open_file(&fd, &st, path, err);
    if (status != QUIRE_OK)
        return status;
    ssize_t n = sys.pread(fd, out->magic, sizeof out->magic, 0);
    if (n < 0)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot read model '%s': %s", path, strerror(errno));
    out->n_magic = n > 0 ? (size_t)n : 0;
    sys.close(fd);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A file that is no GGUF, by what it is instead. */
static quire_status refuse_file(const char *path, const struct look *look, quire_error *err)
{
    static const struct {
        const char *magic;
        const char *what;
    } kinds[] = {
        {"lmgg", "a model in the ggml format that came before GGUF; convert the checkpoint again"},
        {"tjgg", "a model in the ggjt format that came before GGUF; convert the checkpoint again"},
        {"PK\003\004", "one file of a model, if PyTorch saved it; name the folder that holds it and config.json"},
        {"\x80\002\x8A\n", "a file from before PyTorch 1.6; load it with a newer PyTorch and save it again"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (look->n_magic >= 4 && memcmp(look->magic, kinds[i].magic, 4) == 0)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s' is %s", path, kinds[i].what);
    if (ends_with(path, ".safetensors"))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is one file of a model; name the folder that holds it and config.json", path);
    return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not a model: expected a folder or a GGUF file", path);
}

/* The last component of path, however it is written. */
static char *base_name(const char *path, quire_error *err)
{
    char *whole = realpath(path, NULL);
    const char *slash = whole ? strrchr(whole, '/') : NULL;
    const char *base = slash && slash[1] ? slash + 1 : path;
    char *name = mem_strdup(printable(base, strlen(base)).text, err);
    free(whole);
    return name;
}

static quire_status open_gguf(struct quire_model *model, quire_error *err)
{
    struct model_source *source = model->source;
    quire_status status = source_open_gguf(source, model->path, err);
    if (status == QUIRE_OK)
        status = config_from_gguf(&model->config, source->gguf, err);
    if (status != QUIRE_OK)
        return status;
    struct gguf_string name;
    bool found;
    status = gguf_get_string(source->gguf, "general.name", &name, &found, err);
    if (status == QUIRE_OK && found && name.n > 0)
        model->name = mem_strdup(printable(name.bytes, name.n).text, err);
    else if (status == QUIRE_OK)
        model->name = base_name(model->path, err);
    if (status == QUIRE_OK)
        model->prompt_format = prompt_guess(source, NULL, model->name ? model->name : "", NULL);
    snprintf(model->format_name, sizeof model->format_name, "gguf v%u", gguf_version(source->gguf));
    return status;
}

static quire_status open_folder(struct quire_model *model, quire_error *err)
{
    json_t *config = NULL;
    quire_status status = source_find_folder(model->source, model->path, err);
    if (status == QUIRE_OK)
        status = json_object_load(&config, model->source->config_path, err);
    if (status == QUIRE_OK)
        status = config_from_json(&model->config, config, model->source->config_path, err);
    if (status == QUIRE_OK)
        status = source_open_weights(model->source, model->path, err);
    /* A model written by Quire keeps its name and prompt format, whatever its folder is called. */
    const json_t *own = json_object_get(config, "quire");
    const char *name = json_string_value(json_object_get(own, "name"));
    const char *format = json_string_value(json_object_get(own, "prompt_format"));
    if (status == QUIRE_OK)
        model->name = name && *name ? mem_strdup(printable(name, strlen(name)).text, err) : base_name(model->path, err);
    if (status == QUIRE_OK)
        model->prompt_format = prompt_guess(model->source, model->path, model->name ? model->name : "", format);
    if (status == QUIRE_OK)
        snprintf(model->format_name, sizeof model->format_name, "huggingface %s", model->source->format_name);
    json_decref(config);
    return status;
}

/* Configuration and directory of tensors. */
static quire_status open_files(struct quire_model *model, quire_error *err)
{
    struct look look = {0};
    quire_status status = look_at(&look, model->path, err);
    if (status != QUIRE_OK)
        return status;
    bool is_gguf = ends_with(model->path, ".gguf") || (look.n_magic >= 4 && memcmp(look.magic, "GGUF", 4) == 0);
    if (look.is_folder)
        status = open_folder(model, err);
    else if (is_gguf)
        status = open_gguf(model, err);
    else
        return refuse_file(model->path, &look, err);
    return status == QUIRE_OK && !model->name ? QUIRE_ERR_NO_MEMORY : status;
}

static quire_status open_all(struct quire_model *model, quire_error *err)
{
    quire_status status = open_files(model, err);
    if (status != QUIRE_OK)
        return status;
    source_read_ahead(model->source, false);
    status = weights_bind(model, model->path, err);
    if (status == QUIRE_OK)
        status = fingerprint(model->fingerprint, &model->config, &model->source->tensors, err);
    if (status == QUIRE_OK)
        status = fingerprint_tokenizer(model->tokenizer_fingerprint, model->source, err);
    source_read_ahead(model->source, true);
    return status;
}

/* NULL: no memory. */
static struct quire_model *make(const char *path, quire_error *err)
{
    struct quire_model *model = mem_calloc(1, sizeof *model, "a model", err);
    if (!model)
        return NULL;
    model->source = mem_calloc(1, sizeof *model->source, "a model", err);
    model->path = mem_strdup(path, err);
    if (model->source && model->path)
        return model;
    quire_model_close(model);
    return NULL;
}

/* The configuration of a model whose files could not all be opened. */
static void report_config(const struct model_source *source, const struct config_problems *problems)
{
    json_t *root = NULL;
    if (source->gguf)
        config_report_gguf(source->gguf, problems);
    else if (source->config_path && json_object_load(&root, source->config_path, NULL) == QUIRE_OK)
        config_report_json(root, source->config_path, problems);
    json_decref(root);
}

void model_report(const char *path, void (*found)(void *user, const char *message), void *user)
{
    struct config_problems problems = {found, user};
    struct quire_model *model = make(path, NULL);
    if (model && open_files(model, NULL) == QUIRE_OK)
        weights_report(&model->config, model->source, path, found, user);
    else if (model)
        report_config(model->source, &problems);
    quire_model_close(model);
}

quire_status quire_model_open(quire_model **out, const char *path, quire_error *err)
{
    if (!out || !path || !*path)
        return quire_fail(err, QUIRE_ERR_USAGE, "a model needs a path");
    struct quire_model *model = make(path, err);
    if (!model)
        return QUIRE_ERR_NO_MEMORY;
    quire_error why = {0};
    quire_status status = open_all(model, &why);
    /* What a file that cannot be read seems to hold is not what is wrong with it. */
    if (source_check(model->source, err) != QUIRE_OK)
        status = QUIRE_ERR_IO;
    if (status != QUIRE_OK) {
        quire_fail(err, status, "%s", why.message);
        quire_model_close(model);
        return status;
    }
    *out = model;
    return QUIRE_OK;
}

void quire_model_close(quire_model *model)
{
    if (!model)
        return;
    source_close(model->source);
    free(model->layers);
    free(model->path);
    free(model->name);
    free(model);
}

const quire_config *quire_model_config(const quire_model *model)
{
    return &model->config;
}

const char *quire_model_path(const quire_model *model)
{
    return model->path;
}

const char *quire_model_name(const quire_model *model)
{
    return model->name;
}

const char *quire_model_format_name(const quire_model *model)
{
    return model->format_name;
}

uint64_t quire_model_n_parameters(const quire_model *model)
{
    return model->n_parameters;
}

uint32_t quire_model_n_tensors(const quire_model *model)
{
    return model->n_tensors;
}

uint32_t quire_model_n_unused_tensors(const quire_model *model)
{
    return model->n_unused_tensors;
}

uint64_t quire_model_weight_bytes(const quire_model *model)
{
    return model->weight_bytes;
}

void quire_model_type_totals(const quire_model *model, quire_dtype type, uint32_t *n_tensors, uint64_t *n_bytes)
{
    *n_tensors = model->n_tensors_of[type];
    *n_bytes = model->n_bytes_of[type];
}

quire_prompt_format quire_model_prompt_format(const quire_model *model)
{
    return model->prompt_format;
}

const char *quire_model_fingerprint(const quire_model *model)
{
    return model->fingerprint;
}

quire_status model_check_files(const struct quire_model *model, quire_error *err)
{
    return source_check(model->source, err);
}

const struct gguf *model_gguf(const struct quire_model *model)
{
    return model->source->gguf;
}

const char *model_tokenizer_path(const struct quire_model *model)
{
    return model->source->tokenizer_path;
}
